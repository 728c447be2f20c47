package dlmstest_test

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
)

func TestOracleReportsARepeatedNonceWithBothPlaces(t *testing.T) {
	tb := &fakeTB{}
	o := dlmstest.NewOracle(tb)
	k := newKey(t, 1)
	a, b := o.Watch("client", k.Fingerprint(), newAEAD(t, k)), o.Watch("server", k.Fingerprint(), newAEAD(t, k))

	sealHere(a, 1)
	sealHere(b, 2)
	if err := o.Err(); err != nil || o.Seals() != 2 {
		t.Fatalf("two nonces: want no error and 2 seals, got %v, %d", err, o.Seals())
	}
	sealThere(b, 1)

	var r *dlmstest.Reuse
	if err := o.Err(); !errors.As(err, &r) || !errors.Is(err, dlmstest.ErrNonceReused) {
		t.Fatalf("want a repeat, got %v", err)
	}
	if r.First.Watcher != "client" || r.Second.Watcher != "server" {
		t.Errorf("watchers: got %q and %q", r.First.Watcher, r.Second.Watcher)
	}
	if !strings.Contains(r.First.String(), "sealHere") || !strings.Contains(r.Second.String(), "sealThere") {
		t.Errorf("places: got %s\n%s", r.First, r.Second)
	}
	if !tb.said("nonce used twice") {
		t.Errorf("the test was not failed: %q", tb.errors)
	}
}

func TestOracleTellsKeysApartAndIgnoresOpen(t *testing.T) {
	o := &dlmstest.Oracle{}
	for seed := byte(1); seed <= 3; seed++ {
		k := newKey(t, seed)
		a := o.Wrap(newAEAD(t, k), k.Fingerprint())
		sealed := sealHere(a, 7)
		for range 2 {
			if _, err := a.Open(nil, iv(7), sealed, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := o.Err(); err != nil || o.Seals() != 3 {
		t.Errorf("want no error and 3 seals, got %v, %d", err, o.Seals())
	}
}

func TestOracleCountsAGMACAsASeal(t *testing.T) {
	o, k := &dlmstest.Oracle{}, newKey(t, 1)
	a := o.Wrap(newAEAD(t, k), k.Fingerprint())
	a.Seal(nil, iv(1), nil, []byte("authenticated only"))
	a.Seal(nil, iv(1), []byte("text"), nil)
	if !errors.Is(o.Err(), dlmstest.ErrNonceReused) {
		t.Errorf("want a repeat, got %v", o.Err())
	}
}

func TestOracleSeesOneRepeatAmongManyGoroutines(t *testing.T) {
	o, k := &dlmstest.Oracle{}, newKey(t, 1)
	a := o.Wrap(newAEAD(t, k), k.Fingerprint())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				sealHere(a, byte(g), byte(i))
			}
		})
	}
	wg.Wait()
	if err := o.Err(); err != nil || o.Seals() != 800 {
		t.Fatalf("want no error and 800 seals, got %v, %d", err, o.Seals())
	}
	sealHere(a, 3, 50)
	if o.Err() == nil {
		t.Error("want a repeat")
	}
}

func TestOracleThatSawNothingFailsTheTest(t *testing.T) {
	tb := &fakeTB{}
	dlmstest.NewOracle(tb)
	tb.finish()
	if !tb.said("saw no seal") {
		t.Errorf("want a failure, got %q", tb.errors)
	}
}

func sealHere(a cipher.AEAD, n ...byte) []byte { return a.Seal(nil, iv(n...), []byte("text"), nil) }

func sealThere(a cipher.AEAD, n ...byte) []byte { return a.Seal(nil, iv(n...), []byte("other"), nil) }

func iv(n ...byte) []byte { return append(n, make([]byte, 12-len(n))...) }

func newKey(t *testing.T, seed byte) key.Unicast {
	t.Helper()
	k, err := key.NewUnicast(bytes.Repeat([]byte{seed}, key.Size))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAEAD(t *testing.T, k key.Unicast) cipher.AEAD {
	t.Helper()
	a, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
