package key_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
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
	nonce := make([]byte, 12)
	for n := range 70 {
		for room := range 20 {
			text := bytes.Repeat([]byte{7}, n)
			want := aead.Seal(nil, nonce, text, nil)
			memory := bytes.Repeat([]byte{0xEE}, 128)
			end := 5 + n + room
			got := aead.Seal(memory[:5:end], nonce, text, nil)
			if !bytes.Equal(got[5:], want) {
				t.Errorf("%d bytes with room for %d more: another answer", n, room)
			}
			for i, b := range memory[end:] {
				if b != 0xEE {
					t.Fatalf("%d bytes with room for %d more: byte %d beyond the end was written", n, room, i)
				}
			}
		}
	}
}
