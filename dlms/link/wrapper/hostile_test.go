package wrapper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/linktest"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// slices of b at places that rt draws.
func cuts(rt *rapid.T, b []byte) (parts [][]byte) {
	for len(b) > 0 {
		n := rapid.IntRange(1, len(b)).Draw(rt, "cut")
		parts, b = append(parts, b[:n]), b[n:]
	}
	return parts
}

func TestConnTakesFramesHoweverTheyAreCutAndMerged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var want [][]byte
		var line []byte
		for range rapid.IntRange(1, 8).Draw(rt, "frames") {
			apdu := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(rt, "apdu")
			want = append(want, apdu)
			line = append(line, mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: apdu})...)
		}
		parts := cuts(rt, line)
		a, b := net.Pipe()
		c := wrapper.NewConn(a, 16, 1)
		go func() {
			for _, p := range parts {
				_, _ = b.Write(p)
			}
			_ = b.Close()
		}()
		for i, w := range want {
			got, err := c.Receive(context.Background())
			if err != nil || !bytes.Equal(got, w) {
				rt.Errorf("apdu %d: got % x, %v", i, got, err)
			}
		}
		if _, err := c.Receive(context.Background()); !errors.Is(err, io.EOF) {
			rt.Errorf("at the end: %v", err)
		}
		_ = c.Close()
	})
}

func TestServeTakesFramesHoweverTheyAreCutAndMerged(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		n := rapid.IntRange(1, 5).Draw(rt, "frames")
		var line, want []byte
		for i := range n {
			apdu := []byte(fmt.Sprintf("request %d", i))
			line = append(line, mustAppend(t, wrapper.Frame{Source: 16, Destination: 1, APDU: apdu})...)
			answer := (&linktest.Echo{}).HandleAPDU(context.Background(), link.Request{Client: 16, Server: 1, APDU: apdu})
			want = append(want, mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: answer})...)
		}
		for _, p := range cuts(rt, line) {
			if _, err := c.Write(p); err != nil {
				rt.Fatal(err)
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			rt.Errorf("got %q, %v", got, err)
		}
	})
}

// A byte that is wrong in the version or the length breaks the stream; in an address or the APDU it is the business
// of who reads it. In no case does more come out than was sent, and a server goes on with everybody else.
func TestADamagedStreamGivesNothingThatWasNotSent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		line := mustAppend(t,
			wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("first")}, wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("second")})
		at := rapid.IntRange(0, len(line)-1).Draw(rt, "at")
		line[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		a, b := net.Pipe()
		c := wrapper.NewConn(a, 16, 1)
		go func() {
			_, _ = b.Write(line)
			_ = b.Close()
		}()
		total := 0
		var err error
		for err == nil {
			var apdu []byte
			apdu, err = c.Receive(context.Background())
			total += len(apdu)
		}
		if total > len(line)-wrapper.HeaderSize {
			rt.Errorf("%d bytes out of %d", total, len(line))
		}
		_ = c.Close()
	})
}

func TestServeOutlivesClientsThatSendDamage(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{MaxAPDU: 500})
	good := dial(t, address, 32, 1)
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		b := mustAppend(t, get, get)
		b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
		_, _ = c.Write(b[:r.IntN(len(b)+1)])
		_ = c.Close()
		if got := ask(t, good, "abc"); got != "\x20\x01abc" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestUDPTakesOneWholeFrameADatagramAndDropsTheRest(t *testing.T) {
	a, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	raw, err := net.Dial("udp", a.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := wrapper.NewUDPConn(raw, 16, 1)
	defer func() { _ = c.Close() }()
	frame := mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("whole")})
	damaged := bytes.Clone(frame)
	damaged[0] ^= 1
	for _, b := range [][]byte{
		frame[:9], frame[9:], // one frame in two datagrams
		append(bytes.Clone(frame), frame...), // two frames in one
		damaged, nil,
		{0},
		bytes.Repeat([]byte{0x7E}, 60000),
		mustAppend(t, wrapper.Frame{Source: 2, Destination: 16, APDU: []byte("other server")}),
		frame,
	} {
		if _, err := a.WriteTo(b, raw.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := c.Receive(ctx); err != nil || string(got) != "whole" {
		t.Errorf("got %q, %v", got, err)
	}
	c.Within(20 * time.Millisecond)
	if got, err := c.Receive(ctx); !errors.Is(err, link.ErrTimeout) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWithinBoundsAndIsLifted(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	defer func() { _ = c.Close() }()
	if !c.Within(20 * time.Millisecond) {
		t.Fatal("a pipe has deadlines")
	}
	if _, err := c.Receive(t.Context()); !errors.Is(err, link.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if err := c.Send(t.Context(), []byte("nobody reads")); !errors.Is(err, link.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	c.Within(0)
	in := mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("late")})
	go func() {
		time.Sleep(30 * time.Millisecond)
		_, _ = b.Write(in)
	}()
	if got, err := c.Receive(t.Context()); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAFloodForOthersDoesNotOutlastTheTime(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	in := mustAppend(t, wrapper.Frame{Source: 9, Destination: 9, APDU: []byte("x")})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := b.Write(in); err != nil {
				return
			}
		}
	}()
	c.Within(20 * time.Millisecond)
	if _, err := c.Receive(t.Context()); !errors.Is(err, link.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	_ = c.Close()
	<-done
}

func TestAStreamWithoutDeadlinesIsNotTimed(t *testing.T) {
	r, _ := io.Pipe()
	c := wrapper.NewConn(pipe{r, io.Discard, r}, 16, 1)
	defer func() { _ = c.Close() }()
	if c.Within(time.Second) {
		t.Error("a pipe without deadlines took a time")
	}
}

// appender answers behind what the link has written, or says nothing.
type appender struct{ linktest.Echo }

func (a *appender) AppendAPDU(ctx context.Context, r link.Request, dst []byte) []byte {
	return append(dst, a.HandleAPDU(ctx, r)...)
}

func TestAHandlerThatAppendsIsAnsweredAlike(t *testing.T) {
	address, _ := serve(t, &appender{}, wrapper.Options{})
	c := dial(t, address, 16, 1)
	if err := c.Send(t.Context(), []byte(linktest.NoAnswer)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := ask(t, c, "abc"); got != "\x10\x01abc" {
			t.Errorf("got %q", got)
		}
	}
}
