package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

func newSender(target Target, keepAlive bool, tlsConfig *tls.Config) *sender {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &sender{target: target, transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target.Addr)
		},
		TLSClientConfig:     tlsConfig.Clone(),
		DisableKeepAlives:   !keepAlive,
		MaxIdleConnsPerHost: 32,
		// Well below any server's idle timeout: who closes first must be clear.
		IdleConnTimeout: 5 * time.Second,
	}}
}

// allowed returns an error unless address is loopback or on a Docker bridge of
// this machine: traffic for tests must never reach anybody else.
func allowed(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("load: %q is not IP:PORT: %w", address, err)
	}
	if ap.Addr().IsLoopback() {
		return nil
	}
	bridges, err := dockerBridges()
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	for _, network := range bridges {
		if network.Contains(ap.Addr().Unmap()) {
			return nil
		}
	}
	return fmt.Errorf("load: %s is neither loopback nor on a Docker bridge of this machine", address)
}

func dockerBridges() ([]netip.Prefix, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var networks []netip.Prefix
	for _, i := range interfaces {
		if i.Name != "docker0" && !strings.HasPrefix(i.Name, "br-") {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				networks = append(networks, p.Masked())
			}
		}
	}
	return networks, nil
}
