package transport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
)

var once = sync.OnceValues(func() (Private, error) { return Generate(rand.Reader) })

func private(t testing.TB) Private {
	t.Helper()
	p, err := once()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnwrapGivesTheKeyToItsVaultAlone(t *testing.T) {
	p := private(t)
	env, k, err := Seal(rand.Reader, p.Public())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	var came Envelope
	if err := json.Unmarshal(b, &came); err != nil {
		t.Fatal(err)
	}
	if err := came.For(p.Public()); err != nil {
		t.Fatal(err)
	}
	got, err := p.UnwrapKey(came.Key)
	if err != nil || !got.Equal(k) {
		t.Fatalf("the vault cannot open it: %v", err)
	}
	other, err := Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := came.For(other.Public()); !errors.Is(err, ErrNotForUs) {
		t.Errorf("want ErrNotForUs, got %v", err)
	}
	if _, err := other.UnwrapKey(came.Key); !errors.Is(err, ErrSealed) {
		t.Errorf("another vault: want ErrSealed, got %v", err)
	}
	for i := range came.Key {
		bad := bytes.Clone(came.Key)
		bad[i] ^= 1
		if i%37 == 0 {
			if _, err := p.UnwrapKey(bad); !errors.Is(err, ErrSealed) {
				t.Errorf("byte %d: want ErrSealed, got %v", i, err)
			}
		}
	}
}

func TestUnwrapRefusesWhatIsNoAESKey(t *testing.T) {
	p := private(t)
	pub, err := p.Public().RSA()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := OAEPSHA256.hash()
	if err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string][]byte{
		"empty": {}, "15 bytes": bytes.Repeat([]byte{1, 2, 3}, 5), "two keys": bytes.Repeat([]byte{1, 2}, 16), "16 equal bytes": bytes.Repeat([]byte{7}, 16),
	} {
		wrapped, err := rsa.EncryptOAEP(hash.New(), rand.Reader, pub, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.UnwrapKey(wrapped); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: want ErrSealed, got %v", name, err)
		}
	}
	labelled, err := rsa.EncryptOAEP(hash.New(), rand.Reader, pub, make([]byte, 16), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UnwrapKey(labelled); !errors.Is(err, ErrSealed) {
		t.Errorf("a label: want ErrSealed, got %v", err)
	}
}

func TestWrapKeySpeaksTheOAEPOfTokens(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, MinBits)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := NewPublic(&k.PublicKey, OAEPSHA1)
	if err != nil {
		t.Fatal(err)
	}
	env, want, err := Seal(rand.Reader, pub)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rsa.DecryptOAEP(sha1.New(), nil, k, env.Key, nil)
	if err != nil || !bytes.Equal(got, key.Reveal(want)) {
		t.Fatalf("a token with SHA-1 alone cannot open it: %v", err)
	}
	again, err := NewPublic(&k.PublicKey, OAEPSHA256)
	if err != nil {
		t.Fatal(err)
	}
	if again.Fingerprint() == pub.Fingerprint() || env.For(again) == nil {
		t.Fatal("one key under two schemes has one fingerprint")
	}
}

func TestParsePublicComesBackAndRefusesWhatIsNoTransportKey(t *testing.T) {
	p := private(t).Public()
	got, err := ParsePublic(p.String() + "\n")
	if err != nil || got != p || len(p.Fingerprint()) != 29 {
		t.Fatalf("got %v, %v", got, err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := func(k any) string {
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return publicPrefix + string(OAEPSHA256) + ":" + base64.StdEncoding.EncodeToString(der)
	}
	for name, bad := range map[string]string{
		"nothing": "", "another prefix": strings.Replace(p.String(), "rsa1", "rsa2", 1), "no scheme": strings.Replace(p.String(), "rsa-oaep-sha256:", "", 1),
		"another scheme": strings.Replace(p.String(), "sha256", "md5", 1), "cut": p.String()[:200], "2048 bits": text(&small.PublicKey),
		"a curve": text(&curve.PublicKey), "trailing bytes": p.String() + "AAAA", "long": p.String() + strings.Repeat("A", 2000),
	} {
		if _, err := ParsePublic(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLaw2APrivateTransportKeyShowsNothing(t *testing.T) {
	p := private(t)
	der, err := p.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePrivate(der)
	if err != nil || again.Public() != p.Public() {
		t.Fatalf("it does not come back: %v", err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "it", p, "at", &p)
	text := strings.ToLower(fmt.Sprintf("%v %+v %#v %s %x %q %d", p, p, &p, p, p, p, p) + log.String())
	for _, part := range [][]byte{p.reveal().D.Bytes(), p.reveal().Primes[0].Bytes(), p.reveal().Primes[1].Bytes()} {
		if strings.Contains(text, hex.EncodeToString(part)[:12]) || strings.Contains(text, fmt.Sprint(part)[:24]) {
			t.Fatal("a verb shows the key")
		}
	}
	if _, err := json.Marshal(p); err == nil {
		t.Fatal("a private key was marshalled")
	}
	for _, bad := range [][]byte{nil, der[:100], bytes.Repeat([]byte{0x30}, 40)} {
		if _, err := ParsePrivate(bad); !errors.Is(err, ErrPrivate) {
			t.Errorf("want ErrPrivate, got %v", err)
		}
	}
	if _, err := (Private{}).UnwrapKey(nil); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("want ErrNoKey, got %v", err)
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(private(f).Public().String())
	f.Add("meterseal-rsa1:rsa-oaep-sha1:AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePublic(text)
		if err != nil {
			return
		}
		if again, err := ParsePublic(p.String()); err != nil || again != p {
			t.Fatalf("a key that was read does not come back: %v", err)
		}
	})
}
