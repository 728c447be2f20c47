package server_test

import (
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// ready returns n requests for the energy register, sealed beforehand.
func (p *peer) ready(n int) [][]byte {
	p.t.Helper()
	plain := p.energyRequest()
	list := make([][]byte, n)
	for i := range list {
		list[i] = p.sealDedicated(plain)
	}
	return list
}

func TestADedicatedGetIsServedWithoutAllocation(t *testing.T) {
	b := newBench(t)
	b.unwatched = true
	p := b.concentrator().open()
	list := p.ready(300)
	dst, i := make([]byte, 0, 256), 0
	got := testing.AllocsPerRun(200, func() {
		dst = b.srv.HandleAppend(t.Context(), lan, request(sapReadWrite, 1, list[i]), dst[:0])
		if i++; len(dst) == 0 || dst[0] != 0xD4 {
			t.Fatalf("refused: % x", dst)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestHandleAppendKeepsWhatIsBeforeTheAnswerAndTheRequest(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	g := p.sealDedicated(p.energyRequest())
	before := fmt.Sprintf("%x", g)
	out := b.srv.HandleAppend(t.Context(), lan, request(sapReadWrite, 1, g), []byte("head"))
	if string(out[:4]) != "head" || fmt.Sprintf("%x", g) != before {
		t.Fatal("something was overwritten")
	}
	if v, _ := p.getResult(p.openWith(p.ded, out[4:])).Data.Uint(); v != 123456 {
		t.Errorf("energy: %d", v)
	}
	if out = b.srv.HandleAppend(t.Context(), lan, request(sapReadWrite, 9, g), []byte("head")); string(out) != "head" {
		t.Errorf("silence: %q", out)
	}
	out = b.srv.HandleAppend(t.Context(), lan, request(sapReadWrite, 1, []byte{0xC0}), []byte("head"))
	wantAnswer(t, "head"+notAllowed, out)
}

func BenchmarkServerGet(b *testing.B) {
	bench := newBench(b)
	bench.unwatched = true
	p := bench.concentrator().open()
	list := p.ready(30000)
	dst, i := make([]byte, 0, 256), 0
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if i == len(list) {
			b.StopTimer()
			p.ded = nil
			p.open()
			list, i = p.ready(len(list)), 0
			b.StartTimer()
		}
		dst = bench.srv.HandleAppend(ctx, lan, request(sapReadWrite, 1, list[i]), dst[:0])
		if i++; dst[0] != 0xD4 {
			b.Fatal("refused")
		}
	}
}

// BenchmarkServerGetFloor is the bare cipher on the bytes of BenchmarkServerGet: open the request, seal the answer.
func BenchmarkServerGetFloor(b *testing.B) {
	k, err := key.NewDedicated(otherKey())
	if err != nil {
		b.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		b.Fatal(err)
	}
	iv, aad := make([]byte, security.IVSize), []byte{0x30}
	request := aead.Seal(nil, iv, make([]byte, 13), aad)
	plain, dst := make([]byte, 9), make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := aead.Open(dst[:0], iv, request, aad); err != nil {
			b.Fatal(err)
		}
		dst = aead.Seal(dst[:0], iv, plain, aad)
	}
}
