//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // OAEP with SHA-1: the only one that every token has; it needs no resistance to collisions
	"errors"
	"fmt"
	"io"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// nonceSize is that of DLMS: system title and invocation counter (GB 9.2.3.3.7.3).
const nonceSize = 12

// errTag is the one answer to what does not verify.
var errTag = errors.New("vault: message authentication failed")

// RowAEAD implements vault.Hold. The key is in the token for the time of one call, so there is nothing to give back.
func (t *Token) RowAEAD(row vault.KeyRow) (cipher.AEAD, error) {
	if err := vault.CheckUse(row); err != nil {
		return nil, err
	}
	if !t.gcm {
		return t.takenOut(row)
	}
	// Once now, so that a row that does not open is refused before anything is sent. The MAC covers all of it: what is
	// unwrapped later is the same.
	if err := t.do("use a key", func(s *session) error {
		_, err := s.opened(row, t.tmpl.gcm)
		return err
	}); err != nil {
		return nil, err
	}
	row.Sealed = bytes.Clone(row.Sealed)
	return &aead{t: t, row: row}, nil
}

// aead is AES-128-GCM in the token under the key of a row.
type aead struct {
	t   *Token
	row vault.KeyRow
}

func (*aead) NonceSize() int { return nonceSize }
func (*aead) Overhead() int  { return key.TagSize }

// Seal appends nothing where the token fails: [cipher.AEAD] has no error, and what goes out must not be taken for sealed.
func (a *aead) Seal(dst, nonce, plaintext, data []byte) []byte {
	out, err := a.call("seal with a key", nonce, data, func(s *session, m []*p11.Mechanism, k p11.ObjectHandle) ([]byte, error) {
		if err := a.t.ck.EncryptInit(s.h, m, k); err != nil {
			return nil, err
		}
		return a.t.ck.Encrypt(s.h, plaintext)
	})
	if err == nil && len(out) != len(plaintext)+key.TagSize {
		err = fmt.Errorf("%w: %d bytes of %d sealed", vault.ErrToken, len(out), len(plaintext))
	}
	if err != nil {
		a.t.opts.Log.Error("the token did not seal", "key_ref", a.row.Ref.String(), "error", err)
		return dst
	}
	return append(dst, out...)
}

// Open says of what does not verify nothing but that.
func (a *aead) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	if len(ciphertext) < key.TagSize {
		return nil, errTag
	}
	out, err := a.call("open with a key", nonce, data, func(s *session, m []*p11.Mechanism, k p11.ObjectHandle) ([]byte, error) {
		if err := a.t.ck.DecryptInit(s.h, m, k); err != nil {
			return nil, err
		}
		plain, err := a.t.ck.Decrypt(s.h, ciphertext)
		if err != nil && s.rejects(err) {
			return nil, errTag
		}
		return plain, err
	})
	if err == nil && len(out) != len(ciphertext)-key.TagSize {
		err = fmt.Errorf("%w: %d bytes of %d opened", vault.ErrToken, len(out), len(ciphertext))
	}
	if err != nil {
		return nil, err
	}
	return append(dst, out...), nil
}

// rejects reports whether an error of C_Decrypt is about what it was given, by a token that is well.
func (s *session) rejects(err error) bool {
	return is(err, p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE) || vague(err) && s.alive()
}

func (a *aead) call(what string, nonce, data []byte, do func(s *session, m []*p11.Mechanism, k p11.ObjectHandle) ([]byte, error)) (out []byte, err error) {
	if len(nonce) != nonceSize {
		return nil, fmt.Errorf("vault: nonce: want %d bytes, got %d", nonceSize, len(nonce))
	}
	err = a.t.do(what, func(s *session) error {
		p, err := s.term(a.row.Term)
		if err != nil {
			return err
		}
		k, err := s.unwrap(p.wrap, a.row.Sealed, a.t.tmpl.gcm)
		if err != nil {
			return ofRow(a.row.Ref, err)
		}
		params := p11.NewGCMParams(nonce, data, 8*key.TagSize)
		defer params.Free()
		if out, err = do(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, k); err != nil {
			return err
		}
		if !bytes.Equal(params.IV(), nonce) {
			return fmt.Errorf("%w: it took another initialization vector than the one it was given", vault.ErrToken)
		}
		return nil
	})
	return out, err
}

// String says what it is.
func (a *aead) String() string { return "aes-gcm in a token with " + a.row.Ref.String() }

// Format prints String for every verb.
func (a *aead) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

// window is the RSA key of this process that keys for associations are taken out under, where a token has no GCM for DLMS.
type window struct {
	private func() *rsa.PrivateKey
}

// windowBits: the key lives as long as the process, and what goes through never leaves the machine.
const windowBits = 2048

func (w *window) open(rand io.Reader) error {
	k, err := rsa.GenerateKey(rand, windowBits)
	if err != nil {
		return fmt.Errorf("make the key that keys are taken out under: %w", err)
	}
	w.private = func() *rsa.PrivateKey { return k }
	return nil
}

// takenOut is a key of an association in this process. CCC never is: a row of CCC is refused before, by its role.
func (t *Token) takenOut(row vault.KeyRow) (cipher.AEAD, error) {
	var wrapped []byte
	err := t.do("take a key out for an association", func(s *session) error {
		k, err := s.opened(row, t.tmpl.move)
		if err != nil {
			return err
		}
		pub, err := s.public(&t.out.private().PublicKey)
		if err != nil {
			return err
		}
		wrapped, err = t.ck.WrapKey(s.h, mechOAEP(p11.CKM_SHA_1, p11.CKG_MGF1_SHA1), pub, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := rsa.DecryptOAEP(sha1.New(), nil, t.out.private(), wrapped, nil) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("%w: what it gave out does not open", vault.ErrToken)
	}
	defer clear(b)
	k, err := key.NewUnicast(b)
	if err != nil {
		return nil, fmt.Errorf("%w: it gave out no key", vault.ErrToken)
	}
	if k.Fingerprint() != row.Fingerprint {
		return nil, fmt.Errorf("%w: %s", vault.ErrRow, row.Ref)
	}
	return k.AEAD()
}

// public brings an RSA public key into the token that keys are wrapped to.
func (s *session) public(k *rsa.PublicKey) (p11.ObjectHandle, error) {
	o, err := s.t.ck.CreateObject(s.h, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_RSA),
		p11.NewAttribute(p11.CKA_TOKEN, false),
		p11.NewAttribute(p11.CKA_PRIVATE, false),
		p11.NewAttribute(p11.CKA_WRAP, true),
		p11.NewAttribute(p11.CKA_ENCRYPT, false),
		p11.NewAttribute(p11.CKA_VERIFY, false),
		p11.NewAttribute(p11.CKA_MODULUS, k.N.Bytes()),
		p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
	})
	if err == nil {
		s.made = append(s.made, o)
	}
	return o, err
}

func mechOAEP(hash, mgf uint) []*p11.Mechanism {
	return []*p11.Mechanism{p11.NewMechanism(p11.CKM_RSA_PKCS_OAEP, p11.NewOAEPParams(hash, mgf, p11.CKZ_DATA_SPECIFIED, nil))}
}
