package security

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/bare"
	"github.com/meterseal/meterseal/dlms/key"
)

// Sizes of the GCM protection of suites 0 to 2, in bytes (GB 9.2.3.3.7).
const (
	TagSize = 12
	IVSize  = dlms.SystemTitleSize + 4
)

// maxScratch is how much buffer for additional data a Cipher keeps between two calls (ours).
const maxScratch = 1 << 12

// ErrTag is the one answer to content that does not verify: too short, altered, another key, title or counter.
var ErrTag = errors.New("security: authentication failed")

// ErrSeal is returned where the AEAD did not seal: a token that was removed. [cipher.AEAD] has no error for it; what comes out
// too short is none.
var ErrSeal = errors.New("security: the cipher did not seal")

// Cipher protects APDUs under one key (GB 9.2.3.3.7). It is not safe for concurrent use, as it owns scratch
// buffers; use Clone. It holds the authentication key and therefore prints nothing of itself.
type Cipher struct {
	state func() *state
}

type state struct {
	aead cipher.AEAD
	iv   [IVSize]byte
	head int                                // len(SC || AK)
	aad  []byte                             // SC || AK, and behind it the text that is authenticated and not encrypted
	room [1 + key.Size + ChallengeSize]byte // the first memory of aad
	tag  [TagSize]byte                      // the last one of GMAC
}

// NewCipher makes a Cipher of an AEAD with 12-byte nonces and tags, and of the authentication key that enters the
// additional data as SC || AK. The zero value of ak means that none is in use, and the additional data is SC alone.
func NewCipher(aead cipher.AEAD, ak key.Authentication) (*Cipher, error) {
	if aead == nil {
		return nil, errors.New("security: cipher: no aead")
	}
	if aead.NonceSize() != IVSize || aead.Overhead() != TagSize {
		return nil, fmt.Errorf("security: cipher: want an aead with %d-byte nonce and %d-byte tag, got %d and %d",
			IVSize, TagSize, aead.NonceSize(), aead.Overhead())
	}
	b := key.Reveal(ak)
	defer clear(b)
	return newCipher(aead, append([]byte{0}, b...)), nil
}

func newCipher(aead cipher.AEAD, head []byte) *Cipher {
	s := &state{aead: bare.Of(aead), head: len(head)}
	s.aad = append(s.room[:0], head...)
	return &Cipher{state: func() *state { return s }}
}

// Clone returns a Cipher under the same key with buffers of its own, for another goroutine.
func (c *Cipher) Clone() *Cipher {
	s := c.state()
	return newCipher(s.aead, s.aad[:s.head])
}

// Seal appends to dst the content of a ciphered APDU: ciphertext and tag, or plaintext and tag when ctl asks for
// authentication alone. title is the sender's, ic a counter fresh from its [SendCounter]. dst must not overlap
// plaintext unless it is plaintext[:0]. What [Control.Check] refuses is not sealed.
func (c *Cipher) Seal(dst []byte, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter, plaintext []byte) ([]byte, error) {
	return c.SealWith(dst, ctl, title, ic, nil, plaintext)
}

// SealWith is Seal with extra authenticated data behind SC || AK: that of general-ciphering (GB 9.2.3.4.7.3).
func (c *Cipher) SealWith(dst []byte, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter, extra, plaintext []byte) ([]byte, error) {
	if err := ctl.Check(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	s := c.state()
	s.setIV(title, ic)
	if ctl.Has(Encrypted) {
		return sealed(s.aead.Seal(bare.Room(dst, len(plaintext)), s.iv[:], plaintext, s.header(ctl, extra, nil)), len(dst)+len(plaintext))
	}
	aad := s.header(ctl, extra, plaintext)
	dst = append(dst, plaintext...)
	return sealed(s.aead.Seal(dst, s.iv[:], nil, aad), len(dst))
}

// sealed refuses what has no tag behind its n bytes.
func sealed(out []byte, n int) ([]byte, error) {
	if len(out) != n+TagSize {
		return nil, ErrSeal
	}
	return out, nil
}

// Open verifies what Seal made and appends the plaintext to dst, which may be content[:0]. title is the peer's.
// What does not verify gives ErrTag and nothing else. The caller has checked ctl against its [Acceptance] and ic
// against its [ReceiveFloor], and commits ic after Open and before the plaintext takes effect.
func (c *Cipher) Open(dst []byte, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter, content []byte) ([]byte, error) {
	return c.OpenWith(dst, ctl, title, ic, nil, content)
}

// OpenWith is Open with extra authenticated data behind SC || AK: that of general-ciphering (GB 9.2.3.4.7.3), which
// the APDU's AAD gives.
func (c *Cipher) OpenWith(dst []byte, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter, extra, content []byte) ([]byte, error) {
	if err := ctl.Check(); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if len(content) < TagSize {
		return nil, ErrTag
	}
	s := c.state()
	s.setIV(title, ic)
	if ctl.Has(Encrypted) {
		out, err := s.aead.Open(dst, s.iv[:], content, s.header(ctl, extra, nil))
		if err != nil {
			return nil, ErrTag
		}
		return out, nil
	}
	text, tag := content[:len(content)-TagSize], content[len(content)-TagSize:]
	if _, err := s.aead.Open(nil, s.iv[:], tag, s.header(ctl, extra, text)); err != nil {
		return nil, ErrTag
	}
	return append(dst, text...), nil
}

// OpenUnauthenticated deciphers content that is encrypted and not authenticated, and appends the plaintext to dst,
// which may be content[:0]. Nothing is verified: title, counter and every bit of the content may be anybody's, and
// the caller says so to whoever reads the plaintext. It refuses content that has a tag, so that it cannot stand in
// for [Cipher.Open]; nothing seals what it opens. Only an end whose [Acceptance] names EncryptedOnly calls it.
//
// The key stream is what the AEAD makes of zeros under the sender's initialization vector, so that an AEAD that is a
// token serves too. It does not leave this method, and is that of the sender: no counter is spent.
func (c *Cipher) OpenUnauthenticated(dst []byte, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter, content []byte) ([]byte, error) {
	if err := ctl.checkForm(); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if !ctl.EncryptedOnly() {
		return nil, fmt.Errorf("open: %w: want encrypted only, got %s", ErrPolicy, ctl)
	}
	s := c.state()
	s.setIV(title, ic)
	zeros := make([]byte, len(content), len(content)+TagSize)
	stream, err := sealed(s.aead.Seal(bare.Room(zeros[:0], len(zeros)), s.iv[:], zeros, s.header(ctl, nil, nil)), len(content))
	if err != nil {
		return nil, err
	}
	subtle.XORBytes(stream, stream[:len(content)], content)
	return append(dst, stream[:len(content)]...), nil
}

// GMAC returns the tag over SC || AK || text, where SC is authentication alone (GB 9.2.3.3.7.2). It spends ic.
// Of an AEAD that did not seal it is all zeros, which no peer takes.
func (c *Cipher) GMAC(title dlms.SystemTitle, ic dlms.InvocationCounter, text []byte) [TagSize]byte {
	s := c.state()
	s.setIV(title, ic)
	tag := s.aead.Seal(s.tag[:0], s.iv[:], nil, s.header(Authenticated, nil, text))
	if len(tag) != TagSize {
		return [TagSize]byte{}
	}
	return [TagSize]byte(tag)
}

func (c *Cipher) verifyGMAC(title dlms.SystemTitle, ic dlms.InvocationCounter, text, tag []byte) error {
	s := c.state()
	s.setIV(title, ic)
	if _, err := s.aead.Open(nil, s.iv[:], tag, s.header(Authenticated, nil, text)); err != nil {
		return ErrTag
	}
	return nil
}

// setIV writes the initialization vector: system title || invocation counter (GB 9.2.3.3.7.3).
func (s *state) setIV(title dlms.SystemTitle, ic dlms.InvocationCounter) {
	if [dlms.SystemTitleSize]byte(s.iv[:]) != title {
		copy(s.iv[:], title[:])
	}
	binary.BigEndian.PutUint32(s.iv[dlms.SystemTitleSize:], uint32(ic))
}

// header returns SC || AK || extra || text. It is overwritten by the next call.
func (s *state) header(ctl Control, extra, text []byte) []byte {
	// A byte that was just written holds up the cipher's load of the block that it is in.
	if s.aad[0] != byte(ctl) {
		s.aad[0] = byte(ctl)
	}
	aad := s.aad[:s.head]
	if len(extra) == 0 && len(text) == 0 {
		return aad
	}
	if s.head+len(extra)+len(text) > maxScratch {
		return append(append(slices.Clone(aad), extra...), text...)
	}
	s.aad = append(append(aad, extra...), text...)
	return s.aad
}

// String says what it is and nothing of what it holds.
func (c *Cipher) String() string { return "security.Cipher" }

// Format prints String for every verb.
func (c *Cipher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue logs String.
func (c *Cipher) LogValue() slog.Value { return slog.StringValue(c.String()) }
