package security_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestPublishedVectorsOfProtectionAndHLSComeOutBothWays(t *testing.T) {
	for _, v := range dlmstest.LoadVectors(t, "testdata/vectors") {
		t.Run(v.String(), func(t *testing.T) {
			switch kind := v.Text(t, "kind"); kind {
			case "protect":
				checkProtection(t, v)
			case "hls":
				checkHLS(t, v)
			default:
				t.Fatalf("unknown kind %q", kind)
			}
		})
	}
}

func checkProtection(t *testing.T, v dlmstest.Vector) {
	c, title, ic := vectorCipher(t, v)
	ctl := security.Control(v.Uint(t, "control"))
	plaintext, content := v.Bytes(t, "plaintext"), v.Bytes(t, "content")

	sealed, err := c.Seal(nil, ctl, title, ic, plaintext)
	if refused(t, v, err) {
		_, err = c.Open(nil, ctl, title, ic, content)
		refused(t, v, err)
		if !ctl.EncryptedOnly() {
			return
		}
		if got, err := c.OpenUnauthenticated(nil, ctl, title, ic, content); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("open unauthenticated: want %X, got %X, %v", plaintext, got, err)
		}
		return
	}
	if !bytes.Equal(sealed, content) {
		t.Errorf("seal: want %X, got %X", content, sealed)
	}
	opened, err := c.Open(nil, ctl, title, ic, content)
	if err != nil || !bytes.Equal(opened, plaintext) {
		t.Errorf("open: want %X, got %X, %v", plaintext, opened, err)
	}
}

func checkHLS(t *testing.T, v dlmstest.Vector) {
	c, title, ic := vectorCipher(t, v)
	challenge, want := v.Bytes(t, "challenge"), v.Bytes(t, "reply")

	reply, err := security.BuildReply(c, title, ic, challenge)
	if err != nil || !bytes.Equal(reply, want) {
		t.Errorf("reply: want %X, got %X, %v", want, reply, err)
	}
	got, err := security.VerifyReply(c, title, challenge, want)
	if err != nil || got != ic {
		t.Errorf("verify: want counter %d, got %d, %v", ic, got, err)
	}
}

func vectorCipher(t *testing.T, v dlmstest.Vector) (*security.Cipher, dlms.SystemTitle, dlms.InvocationCounter) {
	t.Helper()
	title, err := dlms.SystemTitleFromBytes(v.Bytes(t, "title"))
	if err != nil {
		t.Fatal(err)
	}
	return newCipher(t, v.Bytes(t, "ek"), v.Bytes(t, "ak")), title, dlms.InvocationCounter(v.Uint(t, "ic"))
}

// newCipher makes a cipher; a nil ak means no authentication key.
func newCipher(t testing.TB, ek, ak []byte) *security.Cipher {
	t.Helper()
	k, err := key.NewUnicast(ek)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	var a key.Authentication
	if ak != nil {
		if a, err = key.NewAuthentication(ak); err != nil {
			t.Fatal(err)
		}
	}
	c, err := security.NewCipher(aead, a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused fails t unless err is what the vector expects, and reports whether it expects a refusal.
func refused(t *testing.T, v dlmstest.Vector, err error) bool {
	t.Helper()
	if v.Refused == "" {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	if err == nil || !strings.Contains(err.Error(), v.Refused) {
		t.Fatalf("want refusal %q, got %v", v.Refused, err)
	}
	return true
}
