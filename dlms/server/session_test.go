package server_test

import (
	"bytes"
	"crypto/cipher"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// counterOf is the counter of an answer of the meter under a dedicated key.
func counterOf(t *testing.T, answer []byte) dlms.InvocationCounter {
	t.Helper()
	if len(answer) < 7 || answer[0] != 0xD4 {
		t.Fatalf("no ded-get-response: % x", answer)
	}
	return dlms.InvocationCounter(uint32(answer[3])<<24 | uint32(answer[4])<<16 | uint32(answer[5])<<8 | uint32(answer[6]))
}

// Session keys A, B, A and so on, by one client and by two, in every order: the oracle of the bench fails the test when
// a nonce comes twice under one key.
func TestNoNonceComesTwiceInWhateverOrderSessionKeysComeBack(t *testing.T) {
	b := newBench(t)
	keys := [][]byte{bytes.Repeat([]byte("A1"), 8), bytes.Repeat([]byte("B2"), 8), bytes.Repeat([]byte("C3"), 8)}
	send := map[string]*security.MemoryCounter{}
	rw, is := b.concentrator(), b.is()
	var last dlms.InvocationCounter
	for _, step := range []int{0, 1, 0, 2, 1, 0, 0, 2, 2, 1} {
		for _, p := range []*peer{rw, is} {
			k := keys[step]
			name := string(k) + string(p.title[:])
			if send[name] == nil {
				send[name] = security.NewMemoryCounter()
			}
			p.useKey(k, send[name])
			p.open()
			ic := counterOf(t, p.send(p.sealDedicated(p.energyRequest())))
			if ic <= last {
				t.Fatalf("the meter spent %d after %d", ic, last)
			}
			last = ic
		}
	}
}

func TestAnAPDUDoesNotReplayWhenItsSessionKeyComesBackAfterOthers(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	a, other := bytes.Repeat([]byte("A1"), 8), bytes.Repeat([]byte("B2"), 8)
	sendA := security.NewMemoryCounter()
	p.useKey(a, sendA)
	p.open()
	recorded := p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(5)))
	p.openWith(p.ded, p.send(recorded))
	p.useKey(other, security.NewMemoryCounter())
	p.open().works()
	p.useKey(a, sendA)
	p.open()
	wantCounter(t, 2, p.send(recorded))
	if len(b.dev.shifts) != 1 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
	p.works()
}

func TestASlotRemembersNoMoreSessionsThanItMay(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	for range 40 { // a floor for each of the last eight, and no more memory than that
		p.ded = nil
		p.open().works()
	}
	first := heap()
	for range 400 {
		p.ded = nil
		p.open().works()
	}
	if grown := int64(heap()) - int64(first); grown > 1<<20 {
		t.Errorf("400 associations more, and %d bytes", grown)
	}
}

// A stranger who replays an AARQ, and an association that never says a word, cost no key schedule.
func TestTheCipherOfASessionIsMadeWithTheFirstAPDUUnderItsKey(t *testing.T) {
	made := 0
	b := newBench(t, func(o *server.Options) {
		wrap := o.WrapAEAD
		o.WrapAEAD = func(a cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
			made++
			return wrap(a, fp)
		}
	})
	p := b.concentrator()
	for range 3 {
		p.open()
	}
	if made != 0 {
		t.Errorf("%d ciphers for associations that were opened and not used", made)
	}
	p.works()
	p.works()
	if made != 1 {
		t.Errorf("%d ciphers for one session", made)
	}
}
