//go:build pkcs11

package pkcs11

import (
	"errors"
	"fmt"
	"io"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// ofRow says whose row an error is of. A blob that does not unwrap under a MAC that verifies is a damaged token's or a
// damaged row's: it is refused either way.
func ofRow(what fmt.Stringer, err error) error {
	switch {
	case errors.Is(err, errBlob):
		return fmt.Errorf("%w: %s: %w", vault.ErrRow, what, err)
	case errors.Is(err, vault.ErrRow):
		return fmt.Errorf("%w: %s", err, what)
	}
	return err
}

// checked verifies the MAC of a row and returns the keys of its term.
func (s *session) checked(row vault.KeyRow) (pair, error) {
	p, err := s.term(row.Term)
	if err != nil {
		return p, ofRow(row.Ref, err)
	}
	return p, ofRow(row.Ref, s.verify(p.mac, row.MAC, row.Bound(s.t.ID())))
}

// opened brings the key of a row into the token.
func (s *session) opened(row vault.KeyRow, as []*p11.Attribute) (p11.ObjectHandle, error) {
	p, err := s.checked(row)
	if err != nil {
		return 0, err
	}
	k, err := s.unwrap(p.wrap, row.Sealed, as)
	return k, ofRow(row.Ref, err)
}

// sealed puts a key object at rest under the term that seals.
func (s *session) sealed(ref role.KeyRef, suite uint8, k p11.ObjectHandle) (row vault.KeyRow, err error) {
	term := s.t.Term()
	p, err := s.term(term)
	if err != nil {
		return row, err
	}
	row = vault.KeyRow{Ref: ref, Suite: suite, Term: term}
	if row.CheckValue, row.Fingerprint, err = s.names(k); err != nil {
		return vault.KeyRow{}, err
	}
	if row.Sealed, err = s.wrap(p.wrap, k); err != nil {
		return vault.KeyRow{}, err
	}
	if row.MAC, err = s.sum(p.mac, key.Framed(row.Bound(s.t.ID())...)); err != nil {
		return vault.KeyRow{}, err
	}
	return row, nil
}

// NewRow implements vault.Hold. The token draws the key; rand is not asked.
func (t *Token) NewRow(_ io.Reader, ref role.KeyRef, suite uint8) (row vault.KeyRow, err error) {
	if ref.Role == role.CCC {
		return row, fmt.Errorf("%w: %s comes from the maker", vault.ErrRole, ref)
	}
	err = t.do("make a key", func(s *session) error {
		k, err := t.ck.GenerateKey(s.h, mechKeyGen, t.tmpl.fresh)
		if err != nil {
			return err
		}
		s.made = append(s.made, k)
		row, err = s.sealed(ref, suite, k)
		return err
	})
	return row, err
}

// CheckRow implements vault.Hold.
func (t *Token) CheckRow(row vault.KeyRow) error {
	return t.do("check a key", func(s *session) error {
		k, err := s.opened(row, t.tmpl.sign)
		if err != nil {
			return err
		}
		return ofRow(row.Ref, s.isNamed(k, row.Fingerprint))
	})
}

// WrapRow implements vault.Hold. CCC is unwrapped, wraps, and is destroyed in the token.
func (t *Token) WrapRow(ccc, row vault.KeyRow) (blob []byte, err error) {
	if err := vault.CheckWrap(ccc, row); err != nil {
		return nil, err
	}
	err = t.do("wrap a key under CCC", func(s *session) error {
		master, err := s.opened(ccc, t.tmpl.wrap)
		if err != nil {
			return err
		}
		k, err := s.opened(row, t.tmpl.move)
		if err != nil {
			return err
		}
		blob, err = s.wrap(master, k)
		return err
	})
	return blob, err
}

// device is the two keys of a device, in the token.
type device struct{ kek, mac p11.ObjectHandle }

// deviceKeys brings them in, each for one use; nil leaves one out.
func (s *session) deviceKeys(d vault.DeviceRow, kek, mac []*p11.Attribute) (out device, err error) {
	if kek != nil {
		if out.kek, err = s.deviceKey(d, vault.UseKEK, d.KEK, kek); err != nil {
			return out, err
		}
	}
	if mac != nil {
		out.mac, err = s.deviceKey(d, vault.UseMAC, d.MAC, mac)
	}
	return out, err
}

// named is the name of a device's key.
type named struct {
	use string
	d   vault.DeviceRow
}

func (n named) String() string { return n.use + " of " + n.d.Title.String() }

func (s *session) deviceKey(d vault.DeviceRow, use string, row vault.DeviceKeyRow, as []*p11.Attribute) (p11.ObjectHandle, error) {
	who := named{use, d}
	p, err := s.term(row.Term)
	if err != nil {
		return 0, ofRow(who, err)
	}
	if err := s.verify(p.mac, row.MAC, row.Bound(s.t.ID(), d.Title, use)); err != nil {
		return 0, ofRow(who, err)
	}
	k, err := s.unwrap(p.wrap, row.Sealed, as)
	return k, ofRow(who, err)
}

// SealRow implements vault.Hold.
func (t *Token) SealRow(d vault.DeviceRow, head enrol.SealedKey, row vault.KeyRow) (out enrol.SealedKey, err error) {
	if err := vault.CheckHead(d, head, row); err != nil {
		return out, err
	}
	err = t.do("seal a key to a device", func(s *session) error {
		dev, err := s.deviceKeys(d, t.tmpl.wrap, t.tmpl.sign)
		if err != nil {
			return err
		}
		k, err := s.opened(row, t.tmpl.move)
		if err != nil {
			return err
		}
		out = head
		if out.Blob, err = s.wrap(dev.kek, k); err != nil {
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

// SealGrant implements vault.Hold.
func (t *Token) SealGrant(d vault.DeviceRow, g enrol.Grant) (enrol.Grant, error) {
	if err := vault.CheckGrant(d, g); err != nil {
		return enrol.Grant{}, err
	}
	g = g.Prepared()
	err := t.do("seal a grant", func(s *session) error {
		dev, err := s.deviceKeys(d, nil, t.tmpl.sign)
		if err != nil {
			return err
		}
		g.MAC, err = s.sum(dev.mac, key.Framed(g.Bound()...))
		return err
	})
	if err != nil {
		return enrol.Grant{}, err
	}
	return g, nil
}

// VerifyLog implements vault.Hold.
func (t *Token) VerifyLog(d vault.DeviceRow, f enrol.LogFile) error {
	if err := vault.CheckLog(d, f); err != nil {
		return err
	}
	return t.do("verify a terminal's log", func(s *session) error {
		dev, err := s.deviceKeys(d, nil, t.tmpl.sign)
		if err != nil {
			return err
		}
		return f.VerifyWith(func(text []byte) ([]byte, error) { return s.sum(dev.mac, text) })
	})
}

// CheckDevice implements vault.Hold.
func (t *Token) CheckDevice(d vault.DeviceRow) error {
	return t.do("check the keys of a device", func(s *session) error {
		dev, err := s.deviceKeys(d, t.tmpl.sign, t.tmpl.sign)
		if err != nil {
			return err
		}
		if err := ofRow(named{vault.UseKEK, d}, s.isNamed(dev.kek, d.KEK.Fingerprint)); err != nil {
			return err
		}
		return ofRow(named{vault.UseMAC, d}, s.isNamed(dev.mac, d.MAC.Fingerprint))
	})
}

// AdoptCopy implements vault.Hold.
func (t *Token) AdoptCopy(d vault.DeviceRow, c enrol.SealedKey, suite uint8) (row vault.KeyRow, err error) {
	if c.Check() != nil || !c.LastDay.IsZero() || c.Recipient != d.Title {
		return row, enrol.ErrSealed
	}
	err = t.do("take a key back from a device", func(s *session) error {
		dev, err := s.deviceKeys(d, t.tmpl.unwrap, t.tmpl.verify)
		if err != nil {
			return err
		}
		err = s.verify(dev.mac, c.MAC, c.Bound())
		if errors.Is(err, vault.ErrRow) {
			return enrol.ErrSealed
		}
		if err != nil {
			return err
		}
		k, err := s.unwrap(dev.kek, c.Blob, t.tmpl.moveIn)
		if errors.Is(err, errBlob) {
			return fmt.Errorf("%w (%w)", enrol.ErrSealed, err)
		}
		if err != nil {
			return err
		}
		row, err = s.sealed(c.Ref(), suite, k)
		return err
	})
	return row, err
}
