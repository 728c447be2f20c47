//go:build !race

package client_test

import (
	"context"
	"testing"
)

// A register is read over TCP without allocation, at either end: buffers are used again, no timer and no goroutine is
// made for a request, and a number needs no memory.
func TestAGetAllocatesNothingAtEitherEnd(t *testing.T) {
	e := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn := ok(e.dial(ctx))
	defer func() { _ = conn.Close() }()
	a := ok(e.associate(ctx, conn))
	get := func() {
		if _, err := a.Get(ctx, energy); err != nil {
			t.Error(err)
		}
	}
	get() // the buffers grow to their size
	if n := testing.AllocsPerRun(1000, get); n > 0 {
		t.Errorf("%v allocations a get", n)
	}
}

// An association over TCP, with both ends of it: half of this are the sockets of the standard library. The key schedules of
// the session are not among it, which are made with the first APDU under its key.
func TestAnAssociationAllocatesLittleAtBothEnds(t *testing.T) {
	e := newBench(t)
	open := func() {
		conn := ok(e.dial(t.Context()))
		ok(e.associate(t.Context(), conn))
		_ = conn.Close()
	}
	open() // the server's buffers grow to their size
	if n := testing.AllocsPerRun(200, open); n > 60 {
		t.Errorf("%v allocations an association", n)
	}
}
