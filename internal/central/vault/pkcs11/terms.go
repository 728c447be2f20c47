//go:build pkcs11

package pkcs11

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/transport"
)

// Init makes a new vault in dir, whose keys the token draws and keeps, and opens it. It never replaces one. The token must
// be initialized, with a user PIN.
func Init(dir string, o vault.InitOptions, place vault.TokenPlace, opts Options) (*Token, error) {
	var t *Token
	_, err := vault.InitToken(dir, o, place, func(root *vault.TokenRoot) (terms []vault.TermNames, to string, err error) {
		if t, err = newToken(root, opts); err != nil {
			return nil, "", err
		}
		if err := t.makeTerm(1); err != nil {
			return nil, "", err
		}
		if err := t.makeTransport(); err != nil {
			return nil, "", err
		}
		if err := t.begin(); err != nil {
			return nil, "", err
		}
		names, err := t.namesOf(1)
		return []vault.TermNames{names}, t.Transport().String(), err
	})
	if err != nil && t != nil {
		return nil, errors.Join(err, t.unmake(), t.Close())
	}
	return t, err
}

// writing runs fn in a session that may make and destroy what stays in the token. Such a session is open for no longer.
func (t *Token) writing(what string, fn func(s *session) error) error {
	l, err := t.connected()
	if err != nil {
		return err
	}
	h, err := t.ck.OpenSession(l.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return told(what, err)
	}
	err = outside(what, fn(&session{t: t, l: l, h: h}))
	if closing := t.ck.CloseSession(h); err == nil && closing != nil {
		return told(what, closing)
	}
	return err
}

// makeTerm puts the keys of a term into the token. What is there already is taken: nothing is under a term that no root file
// has, and nobody but the token has drawn it.
func (t *Token) makeTerm(n uint32) error {
	return t.writing(fmt.Sprintf("make term %d of the root", n), func(s *session) error {
		for _, k := range []struct {
			what string
			use  use
		}{{"wrap", useRootWrap}, {"mac", useRootMAC}} {
			label := t.label(k.what, n)
			there, err := s.objects(p11.CKO_SECRET_KEY, label)
			if err != nil {
				return err
			}
			if len(there) == 0 {
				_, err = t.ck.GenerateKey(s.h, mechKeyGen, k.use.generated(true, p11.NewAttribute(p11.CKA_LABEL, label)))
			}
			if err != nil {
				return err
			}
			if _, err := s.object(p11.CKO_SECRET_KEY, label); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropTerm destroys the keys of a term in the token.
func (t *Token) dropTerm(n uint32) error {
	return t.writing(fmt.Sprintf("destroy term %d of the root", n), func(s *session) error {
		s.l.forget(n)
		return s.destroy(p11.CKO_SECRET_KEY, t.label("wrap", n), t.label("mac", n))
	})
}

func (l *link) forget(n uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.terms, n)
}

func (s *session) destroy(class uint, labels ...string) error {
	for _, label := range labels {
		there, err := s.objects(class, label)
		for _, o := range there {
			err = errors.Join(err, s.t.ck.DestroyObject(s.h, o))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmake takes out of the token what a making that failed has left in it: its vault's ID will never come again.
func (t *Token) unmake() error {
	return t.writing("take back what was made", func(s *session) error {
		label := t.label("transport", 1)
		return errors.Join(s.destroy(p11.CKO_SECRET_KEY, t.label("wrap", 1), t.label("mac", 1)),
			s.destroy(p11.CKO_PRIVATE_KEY, label), s.destroy(p11.CKO_PUBLIC_KEY, label))
	})
}

// makeTransport makes the RSA key that files to the vault are sealed to.
func (t *Token) makeTransport() error {
	label := p11.NewAttribute(p11.CKA_LABEL, t.label("transport", 1))
	return t.writing("make the transport key", func(s *session) error {
		_, _, err := t.ck.GenerateKeyPair(s.h, mechRSAGen, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, false), label,
			p11.NewAttribute(p11.CKA_MODULUS_BITS, transport.MinBits), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
			p11.NewAttribute(p11.CKA_WRAP, true), p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_VERIFY, false),
		}, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true), label,
			p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
			p11.NewAttribute(p11.CKA_UNWRAP, true), p11.NewAttribute(p11.CKA_DECRYPT, false), p11.NewAttribute(p11.CKA_SIGN, false),
			p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, ulongs([]uint{p11.CKM_RSA_PKCS_OAEP})),
		})
		return err
	})
}

// StageTerm implements vault.Hold. The token draws the keys; rand is not asked.
func (t *Token) StageTerm(_ io.Reader, at time.Time) (uint32, error) { return t.Stage(at, t.makeTerm) }

// RetireTerm implements vault.Hold.
func (t *Token) RetireTerm(term uint32, at time.Time) error { return t.Retire(term, at, t.dropTerm) }

// TermNames implements vault.Hold. The wrapping key of a term has no names: it does nothing but wrap. One that the token does
// not tell now is left out.
func (t *Token) TermNames() (out []vault.TermNames) {
	for _, n := range t.Terms() {
		if names, err := t.namesOf(n); err == nil {
			out = append(out, names)
		}
	}
	return out
}

func (t *Token) namesOf(n uint32) (vault.TermNames, error) {
	names := vault.TermNames{Term: n}
	err := t.do("name a term", func(s *session) error {
		p, err := s.term(n)
		if err != nil {
			return err
		}
		names.MACCheckValue, names.MACFingerprint, err = s.names(p.mac)
		return err
	})
	return names, err
}

// Attest implements vault.Hold.
func (t *Token) Attest(term uint32, text []byte) (sum []byte, err error) {
	err = t.do("attest", func(s *session) error {
		p, err := s.term(term)
		if err != nil {
			return err
		}
		sum, err = s.sum(p.mac, key.Framed(t.AttestedText(text)...))
		return err
	})
	return sum, err
}

// ReSealRow implements vault.Hold. Nothing else of the row changes.
func (t *Token) ReSealRow(row vault.KeyRow) (vault.KeyRow, error) {
	err := t.do("re-seal a key", func(s *session) error {
		k, err := s.opened(row, t.tmpl.moveIn)
		if err != nil {
			return err
		}
		if err := ofRow(row.Ref, s.isNamed(k, row.Fingerprint)); err != nil {
			return err
		}
		fresh := row
		fresh.Term = t.Term()
		p, err := s.term(fresh.Term)
		if err != nil {
			return err
		}
		if fresh.Sealed, err = s.wrap(p.wrap, k); err != nil {
			return err
		}
		if fresh.MAC, err = s.sum(p.mac, key.Framed(fresh.Bound(t.ID())...)); err != nil {
			return err
		}
		row = fresh
		return nil
	})
	if err != nil {
		return vault.KeyRow{}, err
	}
	return row, nil
}

// ReSealDevice implements vault.Hold.
func (t *Token) ReSealDevice(d vault.DeviceRow) (vault.DeviceRow, error) {
	err := t.do("re-seal the keys of a device", func(s *session) error {
		fresh := d
		for _, k := range []struct {
			use string
			row *vault.DeviceKeyRow
		}{{vault.UseKEK, &fresh.KEK}, {vault.UseMAC, &fresh.MAC}} {
			o, err := s.deviceKey(d, k.use, *k.row, t.tmpl.moveIn)
			if err != nil {
				return err
			}
			if err := ofRow(named{k.use, d}, s.isNamed(o, k.row.Fingerprint)); err != nil {
				return err
			}
			if *k.row, err = s.sealedDevice(d, k.use, o, k.row.Fingerprint); err != nil {
				return err
			}
		}
		d = fresh
		return nil
	})
	if err != nil {
		return vault.DeviceRow{}, err
	}
	return d, nil
}

// sealedDevice puts a key of a device at rest.
func (s *session) sealedDevice(d vault.DeviceRow, what string, k p11.ObjectHandle, fp key.Fingerprint) (row vault.DeviceKeyRow, err error) {
	row = vault.DeviceKeyRow{Term: s.t.Term(), Fingerprint: fp}
	p, err := s.term(row.Term)
	if err != nil {
		return row, err
	}
	if row.Sealed, err = s.wrap(p.wrap, k); err != nil {
		return row, err
	}
	row.MAC, err = s.sum(p.mac, key.Framed(row.Bound(s.t.ID(), d.Title, what)...))
	return row, err
}

// transportKeys finds the two halves of the transport key.
func (s *session) transportKeys() (private p11.ObjectHandle, public *rsa.PublicKey, err error) {
	label := s.t.label("transport", 1)
	if private, err = s.object(p11.CKO_PRIVATE_KEY, label); err != nil {
		return 0, nil, err
	}
	pub, err := s.objects(p11.CKO_PUBLIC_KEY, label)
	if err != nil {
		return 0, nil, err
	}
	if len(pub) != 1 {
		return 0, nil, fmt.Errorf("%w: token %q has %d public keys %q, want 1", vault.ErrRoot, s.t.Place().Label, len(pub), label)
	}
	a, err := s.t.ck.GetAttributeValue(s.h, pub[0], []*p11.Attribute{
		p11.NewAttribute(p11.CKA_MODULUS, nil), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, nil),
	})
	if err != nil {
		return 0, nil, err
	}
	exponent := new(big.Int).SetBytes(a[1].Value)
	if !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
		return 0, nil, fmt.Errorf("%w: the public exponent of %q", vault.ErrRoot, label)
	}
	return private, &rsa.PublicKey{N: new(big.Int).SetBytes(a[0].Value), E: int(exponent.Int64())}, nil
}
