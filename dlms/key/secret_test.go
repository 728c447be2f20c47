package key_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
)

func secret(t testing.TB, b []byte) key.Secret {
	t.Helper()
	s, err := key.NewSecret(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSecretHasOneToSixtyFourBytes(t *testing.T) {
	for n := range 70 {
		s, err := key.NewSecret(make([]byte, n))
		if good := n >= 1 && n <= 64; (err == nil) != good || s.IsZero() == good || (!good && !errors.Is(err, key.ErrSecret)) {
			t.Errorf("%d bytes: got %v, %v", n, s, err)
		}
	}
}

func TestSecretMatchesItselfAlone(t *testing.T) {
	s := secret(t, []byte("12345678"))
	for _, other := range []string{"", "1", "1234567", "123456789", "12345679", "12345678\x00"} {
		if s.Matches([]byte(other)) {
			t.Errorf("%q matches", other)
		}
		if other != "" && (s.Equal(secret(t, []byte(other))) || secret(t, []byte(other)).Equal(s)) {
			t.Errorf("%q is equal", other)
		}
	}
	if !s.Matches([]byte("12345678")) || !s.Equal(secret(t, []byte("12345678"))) {
		t.Error("a secret does not match itself")
	}
	var none key.Secret
	if none.Matches(nil) || none.Matches([]byte{}) || none.Equal(none) || none.Equal(s) || s.Equal(none) {
		t.Error("something matches no secret")
	}
}

func TestSecretKeepsACopyAndGivesCopies(t *testing.T) {
	b := []byte("12345678")
	s := secret(t, b)
	b[0] = 'x'
	got := key.RevealSecret(s)
	got[1] = 'x'
	if again := key.RevealSecret(s); !bytes.Equal(again, []byte("12345678")) {
		t.Errorf("got %q", again)
	}
	if key.RevealSecret(key.Secret{}) != nil {
		t.Error("no secret has bytes")
	}
}

func TestSecretIsNeitherMarshalledNorUnmarshalled(t *testing.T) {
	s := secret(t, theKey)
	if _, err := json.Marshal(s); !errors.Is(err, key.ErrRedacted) {
		t.Errorf("got %v", err)
	}
	if err := json.Unmarshal([]byte(`"12345678"`), &s); !errors.Is(err, key.ErrRedacted) {
		t.Errorf("got %v", err)
	}
	if s.String() != "secret" || (key.Secret{}).String() != "secret(not set)" {
		t.Errorf("got %s, %s", s, key.Secret{})
	}
}
