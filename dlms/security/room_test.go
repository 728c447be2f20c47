package security_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// The cipher of the standard library writes beyond a destination that has room for a tag of 12 bytes and no more.
func TestSealWritesNothingBeyondItsDestination(t *testing.T) {
	k, err := key.GenerateUnicast(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 70; n++ {
		memory := bytes.Repeat([]byte{0xEE}, 128)
		end := n + security.TagSize
		_, err := c.Seal(memory[:0:end], security.AuthenticatedEncrypted, dlms.SystemTitle{1}, dlms.InvocationCounter(n), make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(memory[end:], bytes.Repeat([]byte{0xEE}, 128-end)) {
			t.Errorf("%d bytes: written beyond the end", n)
		}
	}
}
