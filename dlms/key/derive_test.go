package key_test

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
)

var (
	theTerminal = dlms.SystemTitle{'T', 'S', 'P', 0, 0, 0, 0, 1}
	theDay      = dlms.DayOf(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))
)

// The expected value was computed with OpenSSL: openssl mac -cipher AES-128-CBC -macopt hexkey:... CMAC.
func TestADerivedKeyIsTheCMACOverTitleAndLastDay(t *testing.T) {
	k := unicast(t, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	d, err := k.Derive(theTerminal, theDay)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(key.Reveal(d)); got != "fc4937ac3b225fcb1b2e07f14ac6c475" {
		t.Errorf("got %s", got)
	}
}

func TestADerivedKeyIsAnotherForEveryTitleDayAndKey(t *testing.T) {
	k := unicast(t, theKey)
	seen := map[key.Fingerprint]string{k.Fingerprint(): "the key itself"}
	for _, title := range []dlms.SystemTitle{theTerminal, {'T', 'S', 'P', 0, 0, 0, 0, 2}} {
		for days := range 400 {
			day := dlms.DayOf(time.Date(2026, 1, 1+days, 0, 0, 0, 0, time.UTC))
			d, err := k.Derive(title, day)
			if err != nil {
				t.Fatal(err)
			}
			if other, twice := seen[d.Fingerprint()]; twice {
				t.Fatalf("%s on %s is %s", title, day, other)
			}
			seen[d.Fingerprint()] = title.String() + " on " + day.String()
			if again, err := k.Derive(title, day); err != nil || !again.Equal(d) {
				t.Fatalf("a second time: %v, %v", again, err)
			}
		}
	}
}

// TestLaw3NoDerivedKeyIsAPublicNameOfItsKey holds what makes it safe to publish check values and fingerprints of a key
// that others are derived from: the three inputs of its AES-CMAC have three lengths.
func TestLaw3NoDerivedKeyIsAPublicNameOfItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		title := dlms.SystemTitle(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "title"))
		day := dlms.Day(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "day"))
		text, err := key.DerivedText(title, day)
		if title.IsZero() || day.IsZero() {
			if !errors.Is(err, key.ErrDerive) {
				t.Fatalf("for nobody or no day: %v", err)
			}
			return
		}
		if err != nil || len(text) != 12 || len(text) == len("meterseal kcv 1") || len(text) == len("meterseal fp 1") {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
	})
	k := unicast(t, theKey)
	d, err := k.Derive(theTerminal, theDay)
	if err != nil {
		t.Fatal(err)
	}
	fp, cv := k.Fingerprint(), k.CheckValue()
	b := key.Reveal(d)
	if string(b) == string(fp[:]) || string(b[:3]) == string(cv[:]) {
		t.Error("the derived key is a public name of its key")
	}
}

func TestDeriveRefusesNobodyNoDayAndNoKey(t *testing.T) {
	k := unicast(t, theKey)
	for name, c := range map[string]struct {
		k     key.Unicast
		title dlms.SystemTitle
		day   dlms.Day
		want  error
	}{
		"nobody": {k, dlms.SystemTitle{}, theDay, key.ErrDerive},
		"no day": {k, theTerminal, dlms.Day{}, key.ErrDerive},
		"no key": {key.Unicast{}, theTerminal, theDay, key.ErrNoKey},
	} {
		if d, err := c.k.Derive(c.title, c.day); !errors.Is(err, c.want) || !d.IsZero() {
			t.Errorf("%s: got %v, %v", name, d, err)
		}
	}
}

func TestADerivedKeyGoesInAWrapOfOnesOwnHouseAndInNoKeyTransfer(t *testing.T) {
	d, err := unicast(t, theKey).Derive(theTerminal, theDay)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master(t).Wrap(d); !errors.Is(err, key.ErrRole) {
		t.Errorf("a master key wraps a derived key: %v", err)
	}
	w, err := key.NewWrapping([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := w.Wrap(d)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := w.UnwrapDerived(blob); err != nil || !back.Equal(d) {
		t.Errorf("got %v, %v", back, err)
	}
	aead, err := d.AEAD()
	if err != nil || aead.Overhead() != key.TagSize {
		t.Errorf("aead: %v, %v", aead, err)
	}
}
