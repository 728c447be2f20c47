package security_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

var (
	ek = []byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6")
	ak = []byte("\xd7GjN4\x9fRk\xe9Hy5\xb2Ym8")
)

var bothControls = []security.Control{security.Authenticated, security.AuthenticatedEncrypted}

func TestOpenUndoesSealInPlaceAndAppending(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCipher(t, ek, rapid.SampledFrom([][]byte{nil, ak}).Draw(rt, "ak"))
		ctl := rapid.SampledFrom(bothControls).Draw(rt, "control")
		ic := dlms.InvocationCounter(rapid.Uint32().Draw(rt, "ic"))
		text := rapid.SliceOfN(rapid.Byte(), 0, 6000).Draw(rt, "text")

		sealed, err := c.Seal([]byte("head"), ctl, alice, ic, text)
		if err != nil || len(sealed) != 4+len(text)+security.TagSize || string(sealed[:4]) != "head" {
			rt.Fatalf("seal: got %d bytes, %v", len(sealed), err)
		}
		inPlace := append(make([]byte, 0, len(text)+security.TagSize), text...)
		again, err := c.Seal(inPlace[:0], ctl, alice, ic, inPlace)
		if err != nil || !bytes.Equal(again, sealed[4:]) {
			rt.Fatalf("seal in place: got %X, %v", again, err)
		}
		opened, err := c.Open([]byte("head"), ctl, alice, ic, sealed[4:])
		if err != nil || !bytes.Equal(opened, append([]byte("head"), text...)) {
			rt.Fatalf("open: got %X, %v", opened, err)
		}
		opened, err = c.Open(again[:0], ctl, alice, ic, again)
		if err != nil || !bytes.Equal(opened, text) {
			rt.Fatalf("open in place: got %X, %v", opened, err)
		}
	})
}

func TestOpenRefusesEveryAlteredBitAndEveryShorterContent(t *testing.T) {
	c := newCipher(t, ek, ak)
	for _, ctl := range bothControls {
		sealed, err := c.Seal(nil, ctl, alice, 5, []byte("a text of some length"))
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(sealed) {
			altered := bytes.Clone(sealed)
			altered[bit/8] ^= 1 << (bit % 8)
			mustNotOpen(t, fmt.Sprintf("bit %d", bit), c, ctl, alice, 5, altered)
		}
		for n := range sealed {
			mustNotOpen(t, fmt.Sprintf("%d bytes", n), c, ctl, alice, 5, sealed[:n])
		}
		mustNotOpen(t, "longer", c, ctl, alice, 5, append(bytes.Clone(sealed), 0))
	}
}

func TestOpenRefusesAnotherTitleCounterControlOrKey(t *testing.T) {
	c := newCipher(t, ek, ak)
	for _, ctl := range bothControls {
		sealed, err := c.Seal(nil, ctl, alice, 5, []byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		mustNotOpen(t, "title", c, ctl, bob, 5, sealed)
		mustNotOpen(t, "counter", c, ctl, alice, 6, sealed)
		mustNotOpen(t, "control", c, ctl^security.Encrypted, alice, 5, sealed)
		mustNotOpen(t, "encryption key", newCipher(t, ak, ak), ctl, alice, 5, sealed)
		mustNotOpen(t, "authentication key", newCipher(t, ek, ek), ctl, alice, 5, sealed)
		mustNotOpen(t, "no authentication key", newCipher(t, ek, nil), ctl, alice, 5, sealed)
	}
}

func TestWithoutAnAuthenticationKeyTheAdditionalDataIsTheControlByteAlone(t *testing.T) {
	block, err := aes.NewCipher(ek)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithTagSize(block, 12)
	if err != nil {
		t.Fatal(err)
	}
	iv, text := append(alice[:], 0, 0, 1, 2), []byte("text")
	c := newCipher(t, ek, nil)

	got, err := c.Seal(nil, 0x30, alice, 0x102, text)
	if want := gcm.Seal(nil, iv, text, []byte{0x30}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("both: want %X, got %X, %v", want, got, err)
	}
	got, err = c.Seal(nil, 0x10, alice, 0x102, text)
	want := append([]byte("text"), gcm.Seal(nil, iv, nil, []byte("\x10text"))...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("authenticated: want %X, got %X, %v", want, got, err)
	}
}

func TestSealAndOpenAllocateNothing(t *testing.T) {
	c := newCipher(t, ek, ak)
	text, out, back := make([]byte, 500), make([]byte, 0, 600), make([]byte, 0, 600)
	for _, ctl := range bothControls {
		allocs := testing.AllocsPerRun(200, func() {
			sealed, err := c.Seal(out, ctl, alice, 1, text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Open(back, ctl, alice, 1, sealed); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: want 0 allocations, got %v", ctl, allocs)
		}
	}
}

func TestClonesSealAtTheSameTime(t *testing.T) {
	c := newCipher(t, ek, ak)
	want, err := c.Seal(nil, security.Authenticated, alice, 1, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		clone := c.Clone()
		wg.Go(func() {
			for i := range 200 {
				if i%2 == 1 {
					if _, err := clone.Seal(nil, security.AuthenticatedEncrypted, bob, 2, make([]byte, i)); err != nil {
						t.Error(err)
					}
					continue
				}
				got, err := clone.Seal(nil, security.Authenticated, alice, 1, []byte("text"))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %X, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCipherShowsNeitherOfItsKeys(t *testing.T) {
	c := newCipher(t, ek, ak)
	if _, err := c.Seal(nil, security.Authenticated, alice, 1, []byte("text")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	type holder struct {
		Cipher *security.Cipher
		value  security.Cipher
		long   security.LongTerm
	}
	h := holder{c, *c, security.LongTerm{Cipher: c}}
	for verb := ' '; verb <= '~'; verb++ {
		for _, v := range []any{c, *c, h, &h} {
			_, _ = fmt.Fprintf(&b, "%"+string(verb)+" %+"+string(verb)+" %#"+string(verb), v, v, v)
		}
	}
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&b, nil)), slog.New(slog.NewJSONHandler(&b, nil))} {
		log.Info("x", "cipher", c, "value", *c, "holder", h)
	}
	_ = json.NewEncoder(&b).Encode([]any{c, h}) // may refuse; what came out counts
	for _, k := range [][]byte{ek, ak} {
		for _, form := range []string{
			string(k[:4]), hex.EncodeToString(k[:4]), strings.ToUpper(hex.EncodeToString(k[:4])), strings.Trim(fmt.Sprint(k[:4]), "[]"),
		} {
			if strings.Contains(b.String(), form) {
				t.Errorf("shows %q", form)
			}
		}
	}
}

func TestNewCipherRefusesAnotherNonceOrTagSize(t *testing.T) {
	block, err := aes.NewCipher(ek)
	if err != nil {
		t.Fatal(err)
	}
	gcm16, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	iv16, err := cipher.NewGCMWithNonceSize(block, 16)
	if err != nil {
		t.Fatal(err)
	}
	for name, aead := range map[string]cipher.AEAD{"tag of 16": gcm16, "nonce of 16": iv16, "none": nil} {
		if c, err := security.NewCipher(aead, key.Authentication{}); err == nil || c != nil {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
}

func TestEverySealOfAnAssociationPassesTheOracle(t *testing.T) {
	o := dlmstest.NewOracle(t)
	k, err := key.NewUnicast(ek)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[dlms.SystemTitle]*security.Cipher{}
	for _, title := range []dlms.SystemTitle{alice, bob} {
		aead, err := k.AEAD()
		if err != nil {
			t.Fatal(err)
		}
		if ends[title], err = security.NewCipher(o.Wrap(aead, k.Fingerprint()), key.Authentication{}); err != nil {
			t.Fatal(err)
		}
	}
	for title, c := range ends {
		counter := (&disk{}).start(t, 4)
		if _, err := security.BuildReply(c, title, next(t, counter), make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			seal(t, c, title, next(t, counter))
		}
	}
	if o.Err() != nil || o.Seals() != 42 {
		t.Errorf("want 42 seals and no repeat, got %d, %v", o.Seals(), o.Err())
	}
}

func TestLongTermKeyWithAPartMissingIsRefused(t *testing.T) {
	whole := security.LongTerm{Cipher: newCipher(t, ek, ak), Send: security.NewMemoryCounter(), Floor: (&nvm{}).table(t)}
	if err := whole.Check(); err != nil {
		t.Error(err)
	}
	a, b, c := whole, whole, whole
	a.Cipher, b.Send, c.Floor = nil, nil, nil
	for _, k := range []security.LongTerm{a, b, c, {}} {
		if err := k.Check(); !errors.Is(err, security.ErrLongTerm) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	c := newCipher(f, ek, ak)
	sealed := seal(f, c, alice, 1).content
	f.Add(byte(0x30), uint32(1), sealed)
	f.Add(byte(0x10), uint32(1), sealed)
	f.Add(byte(0x20), uint32(0), []byte(nil))
	f.Fuzz(func(t *testing.T, ctl byte, ic uint32, content []byte) {
		text, err := c.Open(nil, security.Control(ctl), alice, dlms.InvocationCounter(ic), content)
		if err == nil && !(ctl == 0x30 && ic == 1 && bytes.Equal(content, sealed)) {
			t.Errorf("forged: %X", text)
		}
	})
}

func mustNotOpen(t *testing.T, what string, c *security.Cipher, ctl security.Control, title dlms.SystemTitle, ic dlms.InvocationCounter, content []byte) {
	t.Helper()
	got, err := c.Open(nil, ctl, title, ic, content)
	if got != nil || err == nil || err.Error() != security.ErrTag.Error() {
		t.Errorf("%s under %s: want the opaque error alone, got %X, %v", what, ctl, got, err)
	}
}

// broken is an AEAD whose token was removed.
type broken struct{}

func (broken) NonceSize() int                         { return security.IVSize }
func (broken) Overhead() int                          { return security.TagSize }
func (broken) Seal(dst, _, _, _ []byte) []byte        { return dst }
func (broken) Open(_, _, _, _ []byte) ([]byte, error) { return nil, security.ErrTag }

func TestSealRefusesWhatTheCipherDidNotSeal(t *testing.T) {
	c, err := security.NewCipher(broken{}, key.Authentication{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ctl := range []security.Control{security.Authenticated, security.Authenticated | security.Encrypted} {
		out, err := c.Seal(nil, ctl, dlms.SystemTitle{1}, 1, []byte("plain text"))
		if !errors.Is(err, security.ErrSeal) || out != nil {
			t.Errorf("%s: want ErrSeal and nothing to send, got %x, %v", ctl, out, err)
		}
	}
	if out, err := c.OpenUnauthenticated(nil, security.Encrypted, dlms.SystemTitle{1}, 1, []byte("cipher text")); !errors.Is(err, security.ErrSeal) || out != nil {
		t.Errorf("unauthenticated: want ErrSeal, got %x, %v", out, err)
	}
	if c.GMAC(dlms.SystemTitle{1}, 1, []byte("text")) != [security.TagSize]byte{} {
		t.Error("a tag out of nothing")
	}
}
