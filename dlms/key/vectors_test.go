package key_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
)

func TestPublishedVectorsOfKeyWrapCMACAndGCMComeOut(t *testing.T) {
	for _, v := range dlmstest.LoadVectors(t, "testdata/vectors") {
		t.Run(v.String(), func(t *testing.T) {
			switch kind := v.Text(t, "kind"); kind {
			case "cmac":
				got := key.CMAC(newBlock(t, v.Bytes(t, "key")), v.Bytes(t, "message"))
				if want := v.Bytes(t, "mac"); !bytes.Equal(got[:], want) {
					t.Errorf("want %X, got %X", want, got)
				}
			case "wrap":
				checkWrap(t, v)
			case "gcm":
				checkGCM(t, v)
			default:
				t.Fatalf("unknown kind %q", kind)
			}
		})
	}
}

func checkWrap(t *testing.T, v dlmstest.Vector) {
	block, plain, wrapped := newBlock(t, v.Bytes(t, "kek")), v.Bytes(t, "key"), v.Bytes(t, "wrapped")
	back, err := key.UnwrapBlob(block, wrapped)
	if v.Refused != "" {
		if back != nil || err == nil || !strings.Contains(err.Error(), v.Refused) {
			t.Fatalf("want refusal %q, got %X, %v", v.Refused, back, err)
		}
		return
	}
	if err != nil || !bytes.Equal(back, plain) {
		t.Errorf("unwrap: want %X, got %X, %v", plain, back, err)
	}
	got, err := key.WrapBlob(block, plain)
	if err != nil || !bytes.Equal(got, wrapped) {
		t.Errorf("wrap: want %X, got %X, %v", wrapped, got, err)
	}
}

func checkGCM(t *testing.T, v dlmstest.Vector) {
	aead, err := unicast(t, v.Bytes(t, "key")).AEAD()
	if err != nil {
		t.Fatal(err)
	}
	iv, aad, plain, content := v.Bytes(t, "iv"), v.Bytes(t, "aad"), v.Bytes(t, "plaintext"), v.Bytes(t, "content")
	got, err := aead.Open(nil, iv, content, aad)
	if v.Refused != "" {
		if got != nil || err == nil || !strings.Contains(err.Error(), v.Refused) {
			t.Fatalf("want refusal %q, got %X, %v", v.Refused, got, err)
		}
		return
	}
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("open: want %X, got %X, %v", plain, got, err)
	}
	if got := aead.Seal(nil, iv, plain, aad); !bytes.Equal(got, content) {
		t.Errorf("seal: want %X, got %X", content, got)
	}
}

func newBlock(t *testing.T, k []byte) cipher.Block {
	t.Helper()
	block, err := aes.NewCipher(k)
	if err != nil {
		t.Fatal(err)
	}
	return block
}
