//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/transport"
)

// oaep is the hash function and the mask of a scheme.
func oaep(s transport.Scheme) []*p11.Mechanism {
	if s == transport.OAEPSHA256 {
		return mechOAEP(p11.CKM_SHA256, p11.CKG_MGF1_SHA256)
	}
	return mechOAEP(p11.CKM_SHA_1, p11.CKG_MGF1_SHA1)
}

// Transport is what files to the vault are sealed to.
func (t *Token) Transport() transport.Public { return t.to }

// tryTransport finds out which OAEP the token does: with SHA-256 where it can, else with SHA-1.
func (t *Token) tryTransport() error {
	return t.do("try the transport key", func(s *session) error {
		private, public, err := s.transportKeys()
		if err != nil {
			return err
		}
		var refused error
		for _, scheme := range []transport.Scheme{transport.OAEPSHA256, transport.OAEPSHA1} {
			if refused = s.tryOAEP(private, public, scheme); refused == nil {
				t.to, err = transport.NewPublic(public, scheme)
				return err
			}
			if gone(refused) {
				return refused
			}
		}
		return refused
	})
}

func (s *session) tryOAEP(private p11.ObjectHandle, public *rsa.PublicKey, scheme transport.Scheme) error {
	to, err := transport.NewPublic(public, scheme)
	if err != nil {
		return err
	}
	env, _, err := transport.Seal(s.t.opts.Rand, to)
	if err != nil {
		return err
	}
	k, err := s.t.ck.UnwrapKey(s.h, oaep(scheme), private, env.Key, s.t.tmpl.unwrap)
	if err == nil {
		s.made = append(s.made, k)
	}
	return err
}

// received opens the AES key of a file that was sealed to this vault, in the token.
func (s *session) received(wrapped []byte, as []*p11.Attribute) (p11.ObjectHandle, error) {
	if len(wrapped) < transport.MinBits/8 || len(wrapped) > transport.MaxBits/8 {
		return 0, transport.ErrSealed
	}
	private, err := s.transportKey()
	if err != nil {
		return 0, err
	}
	k, err := s.t.ck.UnwrapKey(s.h, oaep(s.t.to.Scheme()), private, wrapped, as)
	if err != nil {
		if gone(err) || full(err) {
			return 0, err
		}
		return 0, fmt.Errorf("%w: %w", transport.ErrSealed, err) // one answer to all that is wrong with it
	}
	s.made = append(s.made, k)
	return k, nil
}

// transportKey returns the private half, which is looked for once in a connection.
func (s *session) transportKey() (p11.ObjectHandle, error) {
	s.l.mu.Lock()
	o := s.l.rsa
	s.l.mu.Unlock()
	if o != 0 {
		return o, nil
	}
	o, err := s.object(p11.CKO_PRIVATE_KEY, s.t.label("transport", 1))
	if err != nil {
		return 0, err
	}
	s.l.mu.Lock()
	s.l.rsa = o
	s.l.mu.Unlock()
	return o, nil
}

// constants returns the fingerprints of the keys of 16 equal bytes: what a blank memory gives. A token knows a key by its
// fingerprint alone.
func constants() (map[key.Fingerprint]bool, error) {
	out := map[key.Fingerprint]bool{}
	for b := range 256 {
		k, err := key.NewWrapping(bytes.Repeat([]byte{byte(b)}, key.Size))
		if err != nil {
			return nil, err
		}
		out[k.Fingerprint()] = true
	}
	return out, nil
}

// errWeakDevice is returned for an enrolment file whose two keys are one, or of equal bytes.
var errWeakDevice = errors.New("weak keys")

// AdoptDevice implements vault.Hold.
func (t *Token) AdoptDevice(f enrol.File) (kek, mac vault.DeviceKeyRow, err error) {
	if err := f.Vault.For(t.to); err != nil {
		return kek, mac, fmt.Errorf("enrolment file of %s: %w", f.Title, err)
	}
	d := vault.DeviceRow{Title: f.Title}
	err = t.do("take the keys of a device", func(s *session) error {
		under, err := s.received(f.Vault.Key, t.tmpl.unwrap)
		if err != nil {
			return err
		}
		if kek, err = s.adoptDevice(d, vault.UseKEK, under, f.KEK); err != nil {
			return err
		}
		if mac, err = s.adoptDevice(d, vault.UseMAC, under, f.MAC); err != nil {
			return err
		}
		if kek.Fingerprint == mac.Fingerprint || t.weak[kek.Fingerprint] || t.weak[mac.Fingerprint] {
			return errWeakDevice
		}
		return nil
	})
	if err != nil {
		return vault.DeviceKeyRow{}, vault.DeviceKeyRow{}, fmt.Errorf("enrolment file of %s: %w", f.Title, err)
	}
	return kek, mac, nil
}

func (s *session) adoptDevice(d vault.DeviceRow, what string, under p11.ObjectHandle, blob []byte) (vault.DeviceKeyRow, error) {
	k, err := s.unwrap(under, blob, s.t.tmpl.moveIn)
	if err != nil {
		return vault.DeviceKeyRow{}, err
	}
	fp, err := s.sum(k, []byte(key.FingerprintText))
	if err != nil {
		return vault.DeviceKeyRow{}, err
	}
	return s.sealedDevice(d, what, k, key.Fingerprint(fp))
}
