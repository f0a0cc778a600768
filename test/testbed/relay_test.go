package testbed

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// echo serves one line per line and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func roundTrip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || line != "hello\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	return time.Since(start)
}

func TestRelayDelaysEachWay(t *testing.T) {
	t.Parallel()
	link := Relay(t, echo(t), 50*time.Millisecond)
	conn := dial(t, link.Address())
	for range 3 {
		if took := roundTrip(t, conn); took < 100*time.Millisecond {
			t.Errorf("a round trip took %s, want 100 ms or more", took)
		}
	}
	if n := link.Accepted(); n != 1 {
		t.Errorf("%d connections counted, want 1", n)
	}
}

func TestRelayPassesTheEndOn(t *testing.T) {
	t.Parallel()
	link := Relay(t, echo(t), 0)
	conn := dial(t, link.Address())
	io.WriteString(conn, "last words")
	conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "last words" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRelayCutResetsAndGoesOn(t *testing.T) {
	t.Parallel()
	link := Relay(t, echo(t), 0)
	conn := dial(t, link.Address())
	roundTrip(t, conn)
	link.Cut()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the cut: %v, want an end", err)
	}
	roundTrip(t, dial(t, link.Address()))
}

func TestRelayStallsWithoutClosing(t *testing.T) {
	t.Parallel()
	link := Relay(t, echo(t), 0)
	conn := dial(t, link.Address())
	link.Stall()
	io.WriteString(conn, "x")
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read while stalled: %v, want a timeout", err)
	}
	link.Resume()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("read after Resume: %v", err)
	}
}
