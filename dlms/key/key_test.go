package key_test

import (
	"bytes"
	"crypto/aes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/key"
)

func TestNewRefusesEveryLengthButSixteenWithoutEcho(t *testing.T) {
	for n := range 40 {
		secret := bytes.Repeat([]byte{0x5A}, n)
		k, err := key.NewMaster(secret)
		if (err == nil) != (n == key.Size) || k.IsZero() == (n == key.Size) {
			t.Errorf("%d bytes: got %v", n, err)
		}
		if err != nil && (strings.Contains(strings.ToLower(err.Error()), "5a") || strings.Contains(err.Error(), "Z")) {
			t.Errorf("%d bytes: the error echoes the key: %v", n, err)
		}
	}
}

func TestKeyIsACopyAndRevealGivesACopy(t *testing.T) {
	b := bytes.Clone(theKey)
	k := unicast(t, b)
	clear(b)
	clear(key.Reveal(k))
	if got := key.Reveal(k); !bytes.Equal(got, theKey) {
		t.Errorf("the key changed under the caller's hands")
	}
}

func TestGenerateDrawsSixteenBytesAndRefusesABrokenSource(t *testing.T) {
	k, err := key.GenerateDedicated(bytes.NewReader(theKey))
	if err != nil || !bytes.Equal(key.Reveal(k), theKey) {
		t.Errorf("generate: got %v", err)
	}
	for name, c := range map[string]struct {
		rand io.Reader
		want error
	}{
		"zeros":  {bytes.NewReader(make([]byte, 64)), key.ErrWeak},
		"ones":   {bytes.NewReader(bytes.Repeat([]byte{0xFF}, 64)), key.ErrWeak},
		"short":  {bytes.NewReader(theKey[:15]), io.ErrUnexpectedEOF},
		"broken": {iotest.ErrReader(errBroken), errBroken},
	} {
		k, err := key.GenerateUnicast(c.rand)
		if !errors.Is(err, c.want) || !k.IsZero() {
			t.Errorf("%s: want %v and no key, got %v", name, c.want, err)
		}
	}
}

var errBroken = errors.New("broken")

func TestWeakMeansSixteenEqualBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.ByteRange(0, 1), key.Size, key.Size).Draw(t, "b")
		k, err := key.NewUnicast(b)
		if err != nil {
			t.Fatal(err)
		}
		equal := bytes.Count(b, b[:1]) == key.Size
		if k.Weak() != equal {
			t.Errorf("%X: weak is %v", b, k.Weak())
		}
	})
	if k := unicast(t, bytes.Repeat([]byte{0x31}, 16)); !k.Weak() {
		t.Error("16 x 31 is not weak")
	}
	if !(key.Unicast{}).Weak() {
		t.Error("no key is not weak")
	}
}

func TestEqualComparesBytesAndAnUnsetKeyEqualsNothing(t *testing.T) {
	a, b := unicast(t, theKey), unicast(t, theKey)
	if !a.Equal(b) {
		t.Error("same bytes are not equal")
	}
	for i := range key.Size {
		other := bytes.Clone(theKey)
		other[i] ^= 1
		if a.Equal(unicast(t, other)) {
			t.Errorf("byte %d is not compared", i)
		}
	}
	if (key.Unicast{}).Equal(key.Unicast{}) || a.Equal(key.Unicast{}) || (key.Unicast{}).Equal(a) {
		t.Error("an unset key equals something")
	}
}

func TestAnUnsetKeyDoesNothing(t *testing.T) {
	var m key.Master
	if _, err := m.Wrap(unicast(t, theKey)); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("wrap: got %v", err)
	}
	if _, err := m.UnwrapUnicast(make([]byte, 24)); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("unwrap: got %v", err)
	}
	if _, err := (key.Unicast{}).AEAD(); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("aead: got %v", err)
	}
	if _, err := master(t).Wrap(key.Unicast{}); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("wrap of nothing: got %v", err)
	}
	zero := key.MAC{}
	sum := zero.Sum([]byte("x"))
	if zero.Verify(sum[:], []byte("x")) || key.Reveal(zero) != nil {
		t.Error("an unset MAC key verifies")
	}
	if got := zero.String(); got != "key(not set)" {
		t.Errorf("string: got %q", got)
	}
}

func TestNamesOfAKeyAreCMACsAndNotTheEncryptionOfZeros(t *testing.T) {
	k, block := unicast(t, theKey), newBlock(t, theKey)
	kcv := key.CMAC(block, []byte("meterseal kcv 1"))
	if got := k.CheckValue(); got != key.CheckValue(kcv[:3]) {
		t.Errorf("check value: got %s", got)
	}
	if got := k.Fingerprint(); got != key.Fingerprint(key.CMAC(block, []byte("meterseal fp 1"))) {
		t.Errorf("fingerprint: got %s", got)
	}
	var h [aes.BlockSize]byte
	block.Encrypt(h[:], h[:])
	if got := k.CheckValue(); bytes.Equal(got[:], h[:3]) {
		t.Error("the check value is a part of the hash key of GCM")
	}
	if got, want := k.String(), "unicast key "+k.CheckValue().String(); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
	if m, err := key.NewMaster(theKey); err != nil || m.Fingerprint() != k.Fingerprint() {
		t.Error("one key in two roles has two fingerprints")
	}
}

func TestNamesReadBackWhatTheyWriteAndDoNotEchoWhatTheyCannotRead(t *testing.T) {
	k := unicast(t, theKey)
	type names struct {
		C key.CheckValue
		F key.Fingerprint
	}
	want, got := names{k.CheckValue(), k.Fingerprint()}, names{}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("want %v, got %v, %v", want, got, err)
	}
	if f, err := key.ParseFingerprint(want.F.String()); err != nil || f != want.F || f.IsZero() {
		t.Errorf("parse fingerprint: got %s, %v", f, err)
	}
	for _, bad := range []string{"", "12345", "1234567", "12345G", "00112233445566778899AABBCCDDEEFF"} {
		v, err := key.ParseCheckValue(bad)
		if err == nil || v != (key.CheckValue{}) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestMACTellsListsOfPartsApart(t *testing.T) {
	k, err := key.NewMAC(theKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := k.Sum([]byte("ab"), []byte("c"))
	if !k.Verify(mac[:], []byte("ab"), []byte("c")) {
		t.Error("does not verify")
	}
	for _, parts := range [][][]byte{
		{[]byte("a"), []byte("bc")}, {[]byte("abc")}, {[]byte("ab"), []byte("c"), nil}, {[]byte("ab")}, nil,
	} {
		if k.Verify(mac[:], parts...) {
			t.Errorf("%q verifies too", parts)
		}
	}
	if k.Verify(mac[:15], []byte("ab"), []byte("c")) || k.Verify(nil, []byte("ab"), []byte("c")) {
		t.Error("a short MAC verifies")
	}
}

func TestAEADHasTheSizesOfDLMSAndNoAllocationPerCall(t *testing.T) {
	a, err := unicast(t, theKey).AEAD()
	if err != nil || a.NonceSize() != 12 || a.Overhead() != key.TagSize {
		t.Fatalf("got %v", err)
	}
	iv, text, out, back := make([]byte, 12), make([]byte, 200), make([]byte, 0, 256), make([]byte, 0, 256)
	allocs := testing.AllocsPerRun(100, func() {
		sealed := a.Seal(out, iv, text, iv)
		if _, err := a.Open(back, iv, sealed, iv); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("want 0 allocations, got %v", allocs)
	}
}

func master(t *testing.T) key.Master {
	t.Helper()
	k, err := key.NewMaster(bytes.Repeat([]byte{0x31}, key.Size))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryRoleIsDrawnFromItsSourceAndIsNoOther(t *testing.T) {
	drawn := map[string]func(io.Reader) (key.Key, error){
		"master":         func(r io.Reader) (key.Key, error) { return key.GenerateMaster(r) },
		"unicast":        func(r io.Reader) (key.Key, error) { return key.GenerateUnicast(r) },
		"authentication": func(r io.Reader) (key.Key, error) { return key.GenerateAuthentication(r) },
		"dedicated":      func(r io.Reader) (key.Key, error) { return key.GenerateDedicated(r) },
		"wrapping":       func(r io.Reader) (key.Key, error) { return key.GenerateWrapping(r) },
		"mac":            func(r io.Reader) (key.Key, error) { return key.GenerateMAC(r) },
	}
	for role, generate := range drawn {
		k, err := generate(bytes.NewReader(theKey))
		if err != nil || !bytes.Equal(key.Reveal(k), theKey) || !strings.HasPrefix(k.String(), role+" key ") {
			t.Errorf("%s: got %s, %v", role, k, err)
		}
		if k, err := generate(bytes.NewReader(make([]byte, key.Size))); !errors.Is(err, key.ErrWeak) || !k.IsZero() {
			t.Errorf("%s of zeros: got %v", role, err)
		}
	}
}

func TestNamedIsTheAEADAndTheFingerprintOfTheKey(t *testing.T) {
	k, err := key.NewDedicated(theKey)
	if err != nil {
		t.Fatal(err)
	}
	got, fp, err := k.Named()
	if err != nil || fp != k.Fingerprint() {
		t.Fatalf("got %s, %v", fp, err)
	}
	want, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	iv, text := make([]byte, 12), []byte("a message")
	if a, b := got.Seal(nil, iv, text, iv), want.Seal(nil, iv, text, iv); !bytes.Equal(a, b) {
		t.Errorf("the two seal differently: % x and % x", a, b)
	}
	if a, fp, err := (key.Dedicated{}).Named(); !errors.Is(err, key.ErrNoKey) || a != nil || !fp.IsZero() {
		t.Errorf("an unset key: got %s, %v", fp, err)
	}
}
