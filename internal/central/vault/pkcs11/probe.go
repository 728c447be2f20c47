//go:build pkcs11

package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// needed are the mechanisms that a vault cannot do without, and how it uses each.
var needed = []struct {
	mech  uint
	flags uint
	name  string
}{
	{p11.CKM_AES_KEY_GEN, p11.CKF_GENERATE, "CKM_AES_KEY_GEN"},
	{p11.CKM_AES_KEY_WRAP, p11.CKF_WRAP | p11.CKF_UNWRAP, "CKM_AES_KEY_WRAP"},
	{p11.CKM_AES_CMAC, p11.CKF_SIGN | p11.CKF_VERIFY, "CKM_AES_CMAC"},
	{p11.CKM_RSA_PKCS_OAEP, p11.CKF_WRAP | p11.CKF_UNWRAP, "CKM_RSA_PKCS_OAEP"},
}

// mechanisms says which of the needed mechanisms a token has, and refuses one that lacks one.
func (t *Token) mechanisms(slot uint) (have []string, err error) {
	var missing []string
	for _, n := range needed {
		info, err := t.ck.GetMechanismInfo(slot, []*p11.Mechanism{p11.NewMechanism(n.mech, nil)})
		if err != nil || info.Flags&n.flags != n.flags {
			missing = append(missing, n.name)
			continue
		}
		have = append(have, n.name)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: token %q lacks %s: a vault cannot be kept in it", vault.ErrToken, t.Place().Label, strings.Join(missing, ", "))
	}
	return have, nil
}

// probe finds out what the token does, and notes it for Describe.
func (t *Token) probe(trusted bool) error {
	l, err := t.connected()
	if err != nil {
		return err
	}
	have, err := t.mechanisms(l.slot)
	if err != nil {
		return err
	}
	why := errors.New("the configuration says so")
	if !t.opts.GCMInProcess {
		if why = t.do("try CKM_AES_GCM", (*session).tryGCM); why != nil && errors.Is(why, errNoGCM) {
			why = fmt.Errorf("the token does not do it as DLMS wants it: %w", why)
		} else if why != nil {
			return why
		}
	}
	place := t.Place()
	t.gcm = why == nil
	t.told = vault.Description{
		Kind: vault.KindPKCS11, Module: place.Module, Token: l.info.Label, Serial: l.info.SerialNumber,
		Model: strings.TrimSpace(l.info.ManufacturerID + " " + l.info.Model), Mechanisms: have, Associations: vault.InToken,
	}
	if t.gcm {
		t.told.Mechanisms = append(t.told.Mechanisms, "CKM_AES_GCM")
	} else {
		t.told.Associations = vault.InProcessForOne
		t.told.Notes = append(t.told.Notes, "CC_IS and CC_LAN are taken into this process for one association each, CCC never: "+why.Error())
	}
	t.told.Notes = append(t.told.Notes, "a key that is derived from CC_LOCALE for a terminal is in this process for a moment: PKCS#11 makes no key of an AES-CMAC")
	if !trusted {
		t.told.Notes = append(t.told.Notes, "the root is not marked as trusted (CKA_TRUSTED): keys at rest are not held to CKA_WRAP_WITH_TRUSTED")
	}
	return nil
}

// errNoGCM: the token has no GCM for DLMS.
var errNoGCM = errors.New("CKM_AES_GCM")

// tryGCM seals and opens under a key of its own, with a vector and a tag as DLMS has them: of 12 bytes each, the vector
// given. What the token seals must be what AES-GCM is, so the key is known here, for this once.
func (s *session) tryGCM() error {
	known, nonce := []byte("meterseal probe "), []byte("MSP00000\x00\x00\x00\x01")
	aad, text := []byte{0x30, 1, 2, 3}, []byte("a message of more than one block")
	k, err := s.t.ck.CreateObject(s.h, append(useGCM.template(false), p11.NewAttribute(p11.CKA_VALUE, known)))
	if err != nil {
		return noGCM("a key for the trial", err)
	}
	s.made = append(s.made, k)
	u, err := key.NewUnicast(known)
	if err != nil {
		return err
	}
	want, err := u.AEAD()
	if err != nil {
		return err
	}
	for _, plain := range [][]byte{text, {}} {
		sealed, err := s.gcm(nonce, aad, func(m []*p11.Mechanism) ([]byte, error) {
			if err := s.t.ck.EncryptInit(s.h, m, k); err != nil {
				return nil, err
			}
			return s.t.ck.Encrypt(s.h, plain)
		})
		if err != nil {
			return err
		}
		if !bytes.Equal(sealed, want.Seal(nil, nonce, plain, aad)) { //nolint:gosec // a key that protects nothing
			return fmt.Errorf("%w: it seals otherwise", errNoGCM)
		}
		opened, err := s.gcm(nonce, aad, func(m []*p11.Mechanism) ([]byte, error) {
			if err := s.t.ck.DecryptInit(s.h, m, k); err != nil {
				return nil, err
			}
			return s.t.ck.Decrypt(s.h, sealed)
		})
		if err != nil {
			return err
		}
		if !bytes.Equal(opened, plain) {
			return fmt.Errorf("%w: it opens otherwise", errNoGCM)
		}
	}
	return nil
}

func (s *session) gcm(nonce, aad []byte, do func(m []*p11.Mechanism) ([]byte, error)) ([]byte, error) {
	params := p11.NewGCMParams(nonce, aad, 8*key.TagSize)
	defer params.Free()
	out, err := do([]*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)})
	if err != nil {
		return nil, noGCM("it refuses", err)
	}
	if !bytes.Equal(params.IV(), nonce) {
		return nil, fmt.Errorf("%w: it draws the initialization vector itself", errNoGCM)
	}
	return out, nil
}

func noGCM(what string, err error) error {
	if gone(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", errNoGCM, what, err)
}
