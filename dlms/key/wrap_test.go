package key_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/key"
)

func TestMasterWrapsForDeliveryWhatTwoImplementationsWrap(t *testing.T) {
	plain, err := hex.DecodeString("101112131415161718191A1B1C1D1E1F")
	if err != nil {
		t.Fatal(err)
	}
	k := unicast(t, plain)
	blob, err := master(t).Wrap(k)
	if got := hex.EncodeToString(blob); err != nil || got != "bb3037110b39ef16021efd80cb4d5e16b926553be20b8389" {
		t.Fatalf("got %s, %v", got, err)
	}
	back, err := master(t).UnwrapUnicast(blob)
	if err != nil || !back.Equal(k) {
		t.Errorf("unwrap: got %v, %v", back, err)
	}
}

func TestMasterDeliversNoStoreKeysAndWrappingWrapsEveryRole(t *testing.T) {
	w, err := key.NewWrapping(theKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range everyRole(t) {
		k, ok := k.(key.Wrappable)
		if !ok {
			continue // the session key, which the compile test holds
		}
		_, isMAC := k.(key.MAC)
		_, isWrapping := k.(key.Wrapping)
		_, isDerived := k.(key.Derived)
		_, err := master(t).Wrap(k)
		if errors.Is(err, key.ErrRole) != (isMAC || isWrapping || isDerived) {
			t.Errorf("master wraps %T: got %v", k, err)
		}
		blob, err := w.Wrap(k)
		if err != nil || len(blob) != key.Size+key.WrapOverhead {
			t.Fatalf("wrap %T: got %d bytes, %v", k, len(blob), err)
		}
		if back, err := unwrapAs(w, k, blob); err != nil || back.Fingerprint() != k.Fingerprint() {
			t.Errorf("unwrap %T: got %v, %v", k, back, err)
		}
	}
}

func unwrapAs(w key.Wrapping, k key.Key, blob []byte) (key.Key, error) {
	switch k.(type) {
	case key.Unicast:
		return w.UnwrapUnicast(blob)
	case key.Master:
		return w.UnwrapMaster(blob)
	case key.Authentication:
		return w.UnwrapAuthentication(blob)
	case key.MAC:
		return w.UnwrapMAC(blob)
	case key.Wrapping:
		return w.UnwrapWrapping(blob)
	case key.Derived:
		return w.UnwrapDerived(blob)
	}
	return nil, errors.New("no such role")
}

func TestUnwrapRefusesEveryAlteredBitAndGivesNoKey(t *testing.T) {
	blob, err := master(t).Wrap(unicast(t, theKey))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(blob) {
		altered := bytes.Clone(blob)
		altered[bit/8] ^= 1 << (bit % 8)
		if k, err := master(t).UnwrapUnicast(altered); !errors.Is(err, key.ErrUnwrap) || !k.IsZero() {
			t.Errorf("bit %d: got %v, %v", bit, k, err)
		}
	}
	other, err := key.NewMaster(theKey)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := other.UnwrapMaster(blob); !errors.Is(err, key.ErrUnwrap) || !k.IsZero() {
		t.Errorf("another master key: got %v, %v", k, err)
	}
}

func TestUnwrapRefusesLengthsThatAreNoKey(t *testing.T) {
	block := newBlock(t, theKey)
	for n := range 80 {
		_, err := master(t).UnwrapUnicast(make([]byte, n))
		if err == nil {
			t.Errorf("%d bytes: taken for a key", n)
		}
		_, err = key.WrapBlob(block, make([]byte, n))
		if (err == nil) != (n >= 16 && n%8 == 0) {
			t.Errorf("wrap of %d bytes: got %v", n, err)
		}
	}
	// A wrap of 32 bytes verifies and is still no key of suite 0.
	blob, err := key.WrapBlob(block, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	m, err := key.NewMaster(theKey)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := m.UnwrapUnicast(blob); err == nil || !k.IsZero() {
		t.Errorf("32 bytes: got %v, %v", k, err)
	}
	if _, err := key.WrapBlob(block, make([]byte, 1<<20)); err == nil {
		t.Error("a megabyte is wrapped")
	}
}

func TestWrapAndUnwrapAreInverse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		block := newBlock(t, rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "kek"))
		blob := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "blob")
		blob = append(blob, make([]byte, 16+(8-len(blob)%8)%8)...)
		wrapped, err := key.WrapBlob(block, blob)
		if err != nil {
			rt.Fatal(err)
		}
		back, err := key.UnwrapBlob(block, wrapped)
		if err != nil || !bytes.Equal(back, blob) {
			rt.Fatalf("want %X, got %X, %v", blob, back, err)
		}
	})
}

func FuzzUnwrapBlob(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		block := newBlock(t, theKey)
		blob, err := key.UnwrapBlob(block, b)
		if err != nil {
			return
		}
		if again, err := key.WrapBlob(block, blob); err != nil || !bytes.Equal(again, b) {
			t.Errorf("want %X, got %X, %v", b, again, err)
		}
	})
}
