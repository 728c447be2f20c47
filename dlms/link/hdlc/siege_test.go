package hdlc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/internal/linktest"
)

// relay carries a stream in pieces of any size, damaging one octet in so many; 0 damages none.
func relay(to io.WriteCloser, from io.Reader, r *rand.Rand, damage int) {
	defer func() { _ = to.Close() }()
	b := make([]byte, 512)
	for {
		n, err := from.Read(b[:1+r.IntN(len(b))])
		for piece := b[:n]; len(piece) > 0; {
			size := 1 + r.IntN(len(piece))
			if damage > 0 && r.IntN(damage) < size {
				piece[r.IntN(size)] ^= 1 << r.IntN(8)
			}
			if _, err := to.Write(piece[:size]); err != nil {
				return
			}
			piece = piece[size:]
		}
		if err != nil {
			return
		}
	}
}

// Both ends with their goroutines, on a stream that dribbles and merges octets and damages some: an answer comes whole
// and is that of its request, or the call says an error.
func TestConnAndServeOnAStreamThatDribblesMergesAndDamages(t *testing.T) {
	whole := 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { whole += siege(t, seed) })
		})
	}
	if whole < 100 {
		t.Errorf("%d answers came whole", whole)
	}
}

func siege(t *testing.T, seed uint64) (whole int) {
	damage := []int{0, 2000, 500}[seed%3]
	client, near := net.Pipe()
	far, meter := net.Pipe()
	go relay(far, near, rand.New(rand.NewPCG(seed, 3)), damage)
	go relay(near, far, rand.New(rand.NewPCG(seed, 4)), damage)
	p := hdlc.Params{TransmitInfo: 64, ReceiveInfo: 64, TransmitWindow: 1 + int(seed%7), ReceiveWindow: 1 + int(seed%7)}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- hdlc.ServeConn(ctx, meter, &linktest.Echo{}, hdlc.Options{ServerConfig: hdlc.ServerConfig{Params: p, Physical: 17}})
	}()
	c, err := hdlc.NewConn(client, hdlc.Config{Client: 16, Server: 1, Physical: 17, Params: p})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		apdu := append([]byte{byte(i)}, pattern(i*50)...)
		got, err := exchange(c, apdu)
		switch want := append([]byte{16, 1}, apdu...); {
		case err != nil:
		case bytes.Equal(got, want):
			whole++
		default:
			t.Errorf("got %d bytes, want the %d of the answer", len(got), len(want))
		}
	}
	if damage == 0 && whole != 20 {
		t.Errorf("%d of 20 answers on a line without damage", whole)
	}
	_ = c.Close()
	cancel()
	<-served
	_, _ = near.Close(), far.Close()
	return whole
}

// exchange fails only when the link has ended: the next one begins anew, and meets no late answer.
func exchange(c *hdlc.Conn, apdu []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := c.Send(ctx, apdu); err != nil {
		return nil, err
	}
	return c.Receive(ctx)
}
