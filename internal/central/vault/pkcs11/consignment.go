//go:build pkcs11

package pkcs11

import (
	"errors"
	"fmt"
	"io"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// consignment is a file's AES key in the token. It has a session of its own, which keeps it between two rows. Where the
// session is lost the key is brought in again.
type consignment struct {
	t      *Token
	what   string
	bring  func(s *session) (p11.ObjectHandle, error)
	s      *session
	under  p11.ObjectHandle
	closed bool
}

// OpenConsignment implements vault.Hold.
func (t *Token) OpenConsignment(wrapped []byte) (vault.Consignment, error) {
	c := &consignment{t: t, what: "open the key of a file", bring: func(s *session) (p11.ObjectHandle, error) {
		return s.received(wrapped, t.tmpl.unwrap)
	}}
	if err := c.do(func(*session) error { return nil }); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// NewConsignment implements vault.Hold. The token draws the key of the file; rand is not asked.
func (t *Token) NewConsignment(_ io.Reader, to transport.Public) (env transport.Envelope, _ vault.Consignment, err error) {
	public, err := to.RSA()
	if err != nil {
		return env, nil, err
	}
	env = transport.Envelope{To: to.Fingerprint(), Scheme: to.Scheme()}
	var own []byte // the key under the root, for a session that is lost
	var term uint32
	err = t.do("make the key of a file", func(s *session) error {
		k, err := t.ck.GenerateKey(s.h, mechKeyGen, t.tmpl.transport)
		if err != nil {
			return err
		}
		s.made = append(s.made, k)
		pub, err := s.public(public)
		if err != nil {
			return err
		}
		if env.Key, err = t.ck.WrapKey(s.h, oaep(to.Scheme()), pub, k); err != nil {
			return fmt.Errorf("seal to %s (%s): %w", env.To, env.Scheme, err)
		}
		term = t.Term()
		p, err := s.term(term)
		if err != nil {
			return err
		}
		own, err = s.wrap(p.wrap, k)
		return err
	})
	if err != nil {
		return transport.Envelope{}, nil, err
	}
	c := &consignment{t: t, what: "seal to another vault", bring: func(s *session) (p11.ObjectHandle, error) {
		p, err := s.term(term)
		if err != nil {
			return 0, err
		}
		return s.unwrap(p.wrap, own, t.tmpl.wrap)
	}}
	return env, c, nil
}

// do runs fn with the key in the token, like Token.do.
func (c *consignment) do(fn func(s *session) error) error {
	if c.closed {
		return ErrClosed
	}
	var last error
	for range 2 {
		err := c.begin()
		if err == nil {
			kept := len(c.s.made)
			err = fn(c.s)
			c.s.drop(kept)
		}
		if err == nil || c.s == nil || !c.s.lost(err) {
			return outside(c.what, err)
		}
		c.t.drop(c.s.l)
		c.s, last = nil, err
	}
	return told(c.what, last)
}

// begin opens the session and brings the key in, if that is to be done.
func (c *consignment) begin() error {
	if c.s != nil {
		return nil
	}
	l, err := c.t.connected()
	if err != nil {
		return err
	}
	h, err := c.t.ck.OpenSession(l.slot, p11.CKF_SERIAL_SESSION)
	if err != nil {
		return told("open a session", err)
	}
	c.s = &session{t: c.t, l: l, h: h}
	c.under, err = c.bring(c.s)
	if err != nil && !c.s.lost(err) {
		return errors.Join(err, c.leave())
	}
	return err
}

// leave closes the session, which destroys what is in it.
func (c *consignment) leave() error {
	s := c.s
	c.s = nil
	if s == nil {
		return nil
	}
	if err := c.t.ck.CloseSession(s.h); err != nil && !gone(err) {
		return told("close a session", err)
	}
	return nil
}

// Close implements vault.Consignment.
func (c *consignment) Close() error {
	c.closed = true
	return c.leave()
}

// drop destroys what was made since there was this much of it.
func (s *session) drop(kept int) {
	for _, o := range s.made[kept:] {
		_ = s.t.ck.DestroyObject(s.h, o) // what is left goes with the session
	}
	s.made = s.made[:kept]
}

// Adopt implements vault.Consignment.
func (c *consignment) Adopt(ref role.KeyRef, suite uint8, blob []byte) (row vault.KeyRow, err error) {
	err = c.do(func(s *session) error {
		k, err := s.unwrap(c.under, blob, c.t.tmpl.moveIn)
		if errors.Is(err, errBlob) {
			return fmt.Errorf("%w: %s: %w", vault.ErrConsigned, ref, err)
		}
		if err != nil {
			return err
		}
		row, err = s.sealed(ref, suite, k)
		return err
	})
	return row, err
}

// Release implements vault.Consignment.
func (c *consignment) Release(row vault.KeyRow) (blob []byte, err error) {
	err = c.do(func(s *session) error {
		k, err := s.opened(row, c.t.tmpl.move)
		if err != nil {
			return err
		}
		blob, err = s.wrap(c.under, k)
		return err
	})
	return blob, err
}
