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
				_, _ = io.Copy(conn, conn) // ends when the client goes, orderly or not
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
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func readByte(conn net.Conn, within time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}

func roundTrip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	send(t, conn, "hello\n")
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
	send(t, conn, "last words")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
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
	send(t, conn, "x")
	if err := readByte(conn, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read while stalled: %v, want a timeout", err)
	}
	link.Resume()
	if err := readByte(conn, 10*time.Second); err != nil {
		t.Errorf("read after Resume: %v", err)
	}
}
