package client

import (
	"context"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
)

// FloorObject returns the Data object that shows the receive floor of a security setup 0.0.43.0.e.255:
// 0.0.43.1.e.255 (BB 6.2, frame counter objects).
func FloorObject(setup dlms.OBIS) dlms.OBIS {
	setup[3] = 1
	return setup
}

// maxFloorData bounds what a floor may come in, in bytes: it is a number.
const maxFloorData = 64

// releaseWait bounds the wait for the answer to a release that protects nothing.
const releaseWait = 2 * time.Second

// ReadFloor asks a meter, as its public client over conn, for the lowest invocation counter that it accepts under
// the key of a security setup. The answer is not authentic: a sending counter may be raised by it within bounds,
// and is never lowered. Whoever answers in clear may be anybody: he gets little room to answer in.
func ReadFloor(ctx context.Context, conn link.Conn, setup dlms.OBIS) (dlms.InvocationCounter, error) {
	a, err := Open(ctx, conn, Config{MaxData: maxFloorData})
	if err != nil {
		return 0, fmt.Errorf("read the meter's receive floor: %w", err)
	}
	d, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassData, Instance: FloorObject(setup), Attribute: 2})
	if err != nil {
		return 0, fmt.Errorf("read the meter's receive floor: %w", err)
	}
	v, err := d.Uint()
	if err != nil || v > uint64(dlms.MaxInvocationCounter) {
		return 0, fmt.Errorf("read the meter's receive floor: %w: want a counter, got %s", ErrAnswer, d)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	_ = a.Release(ctx) // the value is in hand, whether the meter answers or not; some never do
	return dlms.InvocationCounter(v), nil
}
