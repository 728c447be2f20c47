package audit

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// PublicKey is what a reader of the log trusts. It comes from ParsePublicKey.
type PublicKey = note.Verifier

// ParsePublicKey reads the text that Signer.PublicKey gives: "name+hash+key".
func ParsePublicKey(text string) (PublicKey, error) {
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, errors.New("audit public key: want NAME+HASH+KEY, as printed when the vault was made")
	}
	return v, nil
}

// Signer signs checkpoints with an Ed25519 key that stays where it is (a token may stand behind it). The key is captured in a
// closure, which reflection does not see into.
type Signer struct {
	sign     func(msg []byte) ([]byte, error)
	verifier note.Verifier
	public   string
}

// NewSigner names the log that key signs for. The name has no space and no plus sign.
func NewSigner(name string, key crypto.Signer) (*Signer, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("audit signer: want an Ed25519 key, got %T", key.Public())
	}
	text, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return nil, fmt.Errorf("audit signer: %w", err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("audit signer: name %q: %w", name, err)
	}
	sign := func(msg []byte) ([]byte, error) { return key.Sign(nil, msg, crypto.Hash(0)) }
	return &Signer{sign: sign, verifier: v, public: text}, nil
}

// Name implements note.Signer.
func (s *Signer) Name() string { return s.verifier.Name() }

// KeyHash implements note.Signer.
func (s *Signer) KeyHash() uint32 { return s.verifier.KeyHash() }

// Sign implements note.Signer.
func (s *Signer) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }

// PublicKey returns the text that a reader gives to ParsePublicKey.
func (s *Signer) PublicKey() string { return s.public }

// String returns the public key.
func (s *Signer) String() string { return s.public }

// Format prints String for every verb, so that no verb walks into the key.
func (s *Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.public) }
