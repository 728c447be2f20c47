package security_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

// bareGCM is the cipher of suite 0 from the standard library alone, for comparison.
func bareGCM(t testing.TB, k []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithTagSize(block, security.TagSize)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

// encryptOnly is CTR with the initial counter of GCM: what an end sends that encrypts and does not authenticate.
func encryptOnly(t testing.TB, k []byte, title dlms.SystemTitle, ic uint32, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	iv := append(title[:], byte(ic>>24), byte(ic>>16), byte(ic>>8), byte(ic), 0, 0, 0, 2)
	out := make([]byte, len(plain))
	cipher.NewCTR(block, iv).XORKeyStream(out, plain)
	return out
}

func TestEncryptedOnlyIsOpenedAsCounterModeOfTheSender(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCipher(t, ek, rapid.SampledFrom([][]byte{nil, ak}).Draw(rt, "ak"))
		ic, text := rapid.Uint32().Draw(rt, "ic"), rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(rt, "text")
		content := encryptOnly(t, ek, alice, ic, text)
		ctl := rapid.SampledFrom([]security.Control{security.Encrypted, security.Encrypted | security.Broadcast}).Draw(rt, "control")

		got, err := c.OpenUnauthenticated([]byte("head"), ctl, alice, dlms.InvocationCounter(ic), content)
		if err != nil || !bytes.Equal(got, append([]byte("head"), text...)) {
			rt.Fatalf("got %X, %v", got, err)
		}
		got, err = c.OpenUnauthenticated(content[:0], ctl, alice, dlms.InvocationCounter(ic), content)
		if err != nil || !bytes.Equal(got, text) {
			rt.Fatalf("in place: got %X, %v", got, err)
		}
	})
}

func TestOpenUnauthenticatedDoesNotStandInForOpen(t *testing.T) {
	c := newCipher(t, ek, ak)
	for b := range 256 {
		ctl := security.Control(b)
		_, err := c.OpenUnauthenticated(nil, ctl, alice, 1, make([]byte, 40))
		if good := ctl == 0x20 || ctl == 0x60; (err == nil) != good {
			t.Errorf("control %02X: got %v", b, err)
		}
	}
}

func TestGeneralCipheringAuthenticatesWhatItAdds(t *testing.T) {
	gcm, extra, text := bareGCM(t, ek), []byte("\x01\x07 and titles"), []byte("some text")
	iv := append(alice[:], 0, 0, 0, 9)
	c := newCipher(t, ek, ak)
	for ctl, want := range map[security.Control][]byte{
		0x30: gcm.Seal(nil, iv, text, append(append([]byte{0x30}, ak...), extra...)),
		0x10: append(bytes.Clone(text), gcm.Seal(nil, iv, nil, append(append(append([]byte{0x10}, ak...), extra...), text...))...),
	} {
		sealed, err := c.SealWith(nil, ctl, alice, 9, extra, text)
		if err != nil || !bytes.Equal(sealed, want) {
			t.Errorf("%s: want %X, got %X, %v", ctl, want, sealed, err)
		}
		if got, err := c.OpenWith(nil, ctl, alice, 9, extra, sealed); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: got %q, %v", ctl, got, err)
		}
		for name, other := range map[string][]byte{"none": nil, "shorter": extra[1:], "longer": append(bytes.Clone(extra), 0)} {
			if got, err := c.OpenWith(nil, ctl, alice, 9, other, sealed); !errors.Is(err, security.ErrTag) || got != nil {
				t.Errorf("%s, %s extra: got %q, %v", ctl, name, got, err)
			}
		}
	}
}

func TestTheKeySetIsAuthenticated(t *testing.T) {
	c := newCipher(t, ek, ak)
	sealed, err := c.Seal(nil, security.AuthenticatedEncrypted|security.Broadcast, alice, 1, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, "unicast", c, security.AuthenticatedEncrypted, alice, 1, sealed)
	if got, err := c.Open(nil, 0x70, alice, 1, sealed); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
}
