//go:build pkcs11

package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
)

// SealDerived implements vault.Hold. The token computes the AES-CMAC under CC_LOCALE, which stays in it. No mechanism makes a
// key object of an AES-CMAC, so its result is in this process until it is back in the token to be wrapped.
func (t *Token) SealDerived(d vault.DeviceRow, head enrol.SealedKey, row vault.KeyRow) (out enrol.SealedKey, err error) {
	if err := vault.CheckDerivedHead(d, head, row); err != nil {
		return out, err
	}
	text, err := key.DerivedText(d.Title, head.LastDay)
	if err != nil {
		return out, err
	}
	err = t.do("seal a derived key to a terminal", func(s *session) error {
		dev, err := s.deviceKeys(d, t.tmpl.wrap, t.tmpl.sign)
		if err != nil {
			return err
		}
		k, err := s.opened(row, t.tmpl.sign)
		if err != nil {
			return err
		}
		derived, err := s.derived(k, text)
		if err != nil {
			return err
		}
		out = head
		if out.Blob, err = s.wrap(dev.kek, derived); err != nil {
			return err
		}
		out.MAC, err = s.sum(dev.mac, key.Framed(out.Bound()...))
		return err
	})
	if err != nil {
		return enrol.SealedKey{}, err
	}
	return out, nil
}

// derived makes a key object of the AES-CMAC of a text.
func (s *session) derived(k p11.ObjectHandle, text []byte) (p11.ObjectHandle, error) {
	sum, err := s.sum(k, text)
	if err != nil {
		return 0, err
	}
	defer clear(sum)
	o, err := s.t.ck.CreateObject(s.h, append(useMove.template(false), p11.NewAttribute(p11.CKA_VALUE, sum)))
	if err == nil {
		s.made = append(s.made, o)
	}
	return o, err
}
