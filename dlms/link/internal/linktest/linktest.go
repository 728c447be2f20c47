// Package linktest is what the tests of the links share: a handler that answers what it got, and a server on loopback
// that is stopped, and waited for, with its test.
package linktest

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
)

// NoAnswer is the APDU that an [Echo] does not answer.
const NoAnswer = "no answer"

// Echo answers with the addresses, one byte each, and the APDU, and remembers who went.
type Echo struct {
	// Delay is how long an answer takes, at most until the context ends.
	Delay time.Duration

	mu    sync.Mutex
	calls int
	gone  []dlms.SAP
}

// HandleAPDU answers.
func (e *Echo) HandleAPDU(ctx context.Context, r link.Request) []byte {
	e.mu.Lock()
	e.calls++
	e.mu.Unlock()
	select {
	case <-time.After(e.Delay):
	case <-ctx.Done():
	}
	if string(r.APDU) == NoAnswer {
		return nil
	}
	return append([]byte{byte(r.Client), byte(r.Server)}, r.APDU...)
}

// Disconnected remembers the client.
func (e *Echo) Disconnected(client dlms.SAP) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = append(e.gone, client)
}

// Calls is how many APDUs have come.
func (e *Echo) Calls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

// WantGone checks which clients went, in order.
func (e *Echo) WantGone(t testing.TB, want ...dlms.SAP) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.gone, want) {
		t.Errorf("got %v gone, want %v", e.gone, want)
	}
}

// Serve runs a server on loopback, which has to return nil when its context ends: by stop, or at the end of the test.
func Serve(t testing.TB, serve func(ctx context.Context, ln net.Listener) error) (address string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}
