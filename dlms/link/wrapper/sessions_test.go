package wrapper

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
)

// parrot answers with what was asked, and remembers who went.
type parrot struct{ gone []dlms.SAP }

func (*parrot) HandleAPDU(_ context.Context, r link.Request) []byte { return bytes.Clone(r.APDU) }
func (p *parrot) Disconnected(client dlms.SAP)                      { p.gone = append(p.gone, client) }

func TestAConnectionFindsNothingOfTheOneBefore(t *testing.T) {
	frame, err := AppendFrame(nil, Frame{Source: 16, Destination: 1, APDU: bytes.Repeat([]byte("secret"), 40)})
	if err != nil {
		t.Fatal(err)
	}
	var p sessions
	defer p.end()
	first := p.take()
	for _, before := range [][]byte{nil, frame[:5], frame[:len(frame)-1], []byte("garbage that is no frame"), frame} {
		s := p.take()
		h := new(parrot)
		turn(t, s, h, before, 0)
		p.give(s)
		if n := len(s.clients) + len(s.out) + s.decoder.end; n > 0 || s.decoder.err != nil {
			t.Errorf("after % x: %+v", before, s)
		}
		if bytes.Contains(s.decoder.buf, []byte("secret")) || bytes.Contains(s.out[:cap(s.out)], []byte("secret")) {
			t.Errorf("after %d bytes: they are still there", len(before))
		}
		if again := p.take(); again != s {
			t.Fatal("it is not used again")
		}
		h = new(parrot)
		own, err := AppendFrame(nil, Frame{Source: 32, Destination: 1, APDU: []byte("b")})
		if err != nil {
			t.Fatal(err)
		}
		if got := turn(t, s, h, own, len(own)); !bytes.HasSuffix(got, []byte("b")) {
			t.Errorf("after % x: answered % x", before, got)
		}
		if !slices.Equal(h.gone, []dlms.SAP{32}) {
			t.Errorf("after % x: %v gone", before, h.gone)
		}
		p.give(s)
	}
	p.give(first)
}

// turn serves one connection on which b comes, and returns the n bytes that are answered.
func turn(t *testing.T, s *session, h link.Handler, b []byte, n int) []byte {
	t.Helper()
	server, client := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.serve(t.Context(), server, h, Options{}.withDefaults()) }()
	_, _ = client.Write(b) // what is no frame ends the connection
	answer := make([]byte, n)
	if _, err := io.ReadFull(client, answer); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	<-done
	return answer
}

func TestFewSessionsAreKeptAndNoLargeBuffer(t *testing.T) {
	var p sessions
	defer p.end()
	var all []*session
	for range maxSpare + 3 {
		s := p.take()
		s.out, s.decoder.buf = make([]byte, 10, maxKept+1), make([]byte, maxKept+1)
		all = append(all, s)
	}
	for _, s := range all {
		p.give(s)
		if cap(s.out)+len(s.decoder.buf) > 0 {
			t.Error("a large buffer is kept")
		}
	}
	if len(p.spare) != maxSpare {
		t.Errorf("%d sessions are kept", len(p.spare))
	}
}
