package security_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestSessionSealsUnderItsOwnKeyWithTheAuthenticationKeyOfItsParent(t *testing.T) {
	d, err := key.NewDedicated(bytes.Repeat([]byte{1, 2}, 8))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := d.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	for _, authentication := range [][]byte{nil, ak} {
		parent := newCipher(t, ek, authentication)
		session, err := parent.Session(aead)
		if err != nil {
			t.Fatal(err)
		}
		want := seal(t, newCipher(t, key.Reveal(d), authentication), alice, 1).content
		if got := seal(t, session, alice, 1).content; !bytes.Equal(got, want) {
			t.Errorf("want %X, got %X", want, got)
		}
		mustNotOpen(t, "under the parent's key", parent, security.AuthenticatedEncrypted, alice, 1, want)
	}
}

func TestSessionRefusesAnotherTagSize(t *testing.T) {
	block, err := aes.NewCipher(ek)
	if err != nil {
		t.Fatal(err)
	}
	gcm16, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	for name, aead := range map[string]cipher.AEAD{"tag of 16": gcm16, "none": nil} {
		if c, err := newCipher(t, ek, ak).Session(aead); err == nil || c != nil {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}
