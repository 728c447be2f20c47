//go:build pkcs11

package pkcs11

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// wrappedSize is a key of 16 bytes under AES key wrap.
const wrappedSize = key.Size + 8

// errBlob is what unwrap says to a blob that is not one, before anybody knows whose.
var errBlob = errors.New("does not unwrap")

// link is one life of the connection to the token: a login, and what was found after it. Handles are worth nothing in the
// next one.
type link struct {
	slot uint
	info p11.TokenInfo

	mu    sync.Mutex
	terms map[uint32]pair
	rsa   p11.ObjectHandle
	open  int // sessions, idle and busy
	most  int // that it may have
	idle  chan p11.SessionHandle
	dead  chan struct{}
	over  bool
}

// pair is the two keys of a term.
type pair struct{ wrap, mac p11.ObjectHandle }

// session is one operation's use of a session. What it makes in the token ends with it.
type session struct {
	t       *Token
	l       *link
	h       p11.SessionHandle
	made    []p11.ObjectHandle
	spoiled bool
}

// do runs fn in a session. A connection that is gone is begun anew, and fn with it, once: fn changes nothing that lasts.
func (t *Token) do(what string, fn func(s *session) error) error {
	var last error
	for range 2 {
		s, err := t.take()
		if err != nil {
			return err
		}
		err = fn(s)
		if err == nil || !s.lost(err) {
			s.end()
			return outside(what, err)
		}
		t.drop(s.l)
		last = err
	}
	return told(what, last)
}

// outside leaves the errors that callers tell apart as they are; what else the token says is the token's trouble.
func outside(what string, err error) error {
	var code p11.Error
	if err == nil || !errors.As(err, &code) || errors.Is(err, vault.ErrToken) || errors.Is(err, errBlob) {
		return err
	}
	return told(what, err)
}

// lost reports whether an error means that the connection is gone. After one that says little the token is asked for
// something that it can do.
func (s *session) lost(err error) bool {
	switch {
	case gone(err):
		return true
	case vague(err):
		return !s.alive()
	}
	return false
}

// alive tries the newest term.
func (s *session) alive() bool {
	pair, err := s.term(s.t.term())
	if err != nil {
		return false
	}
	_, err = s.sum(pair.mac, []byte("meterseal token alive 1"))
	return err == nil
}

// take waits for a session, and connects where there is no connection.
func (t *Token) take() (*session, error) {
	for {
		l, err := t.connected()
		if err != nil {
			return nil, err
		}
		h, err := t.sessionOf(l)
		if errors.Is(err, errOver) {
			continue
		}
		if err != nil {
			if gone(err) || vague(err) {
				t.drop(l)
			}
			return nil, told("open a session", err)
		}
		return &session{t: t, l: l, h: h}, nil
	}
}

// errOver ends the wait for a session of a connection that is gone.
var errOver = errors.New("the connection is over")

func (t *Token) sessionOf(l *link) (p11.SessionHandle, error) {
	select {
	case h := <-l.idle:
		return h, nil
	default:
	}
	if l.mayOpen() {
		h, err := t.ck.OpenSession(l.slot, p11.CKF_SERIAL_SESSION)
		if err == nil {
			return h, nil
		}
		if !l.fewer() || !is(err, p11.CKR_SESSION_COUNT) {
			return 0, err
		}
	}
	select {
	case h := <-l.idle:
		return h, nil
	case <-l.dead:
		return 0, errOver
	}
}

func (l *link) mayOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.open >= l.most {
		return false
	}
	l.open++
	return true
}

// fewer takes a session back that could not be opened, and reports whether there are others to wait for.
func (l *link) fewer() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.most = max(1, l.open)
	return l.open > 0
}

// end destroys what the operation has made and gives the session back.
func (s *session) end() {
	for _, o := range slices.Backward(s.made) {
		if s.t.ck.DestroyObject(s.h, o) != nil {
			s.spoiled = true
		}
	}
	s.made = nil
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.l.over {
		_ = s.t.ck.CloseSession(s.h) // it is gone already, or goes now
		return
	}
	if s.spoiled && !s.renew() {
		s.l.finish(s.t.ck)
		return
	}
	s.l.idle <- s.h
}

// renew closes a session, which destroys what is left in it, and opens another one in its place.
func (s *session) renew() bool {
	_ = s.t.ck.CloseSession(s.h) // an error leaves nothing to do: what matters is whether another one opens
	h, err := s.t.ck.OpenSession(s.l.slot, p11.CKF_SERIAL_SESSION)
	s.h = h
	return err == nil
}

// drop gives a connection up, once. Operations that are in it fail, and find the next one.
func (t *Token) drop(l *link) {
	t.mu.Lock()
	if t.link == l {
		t.link = nil
	}
	t.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(t.ck)
}

// finish ends a connection. The caller has its lock.
func (l *link) finish(ck cryptoki) {
	if l.over {
		return
	}
	l.over = true
	close(l.dead)
	for {
		select {
		case h := <-l.idle:
			_ = ck.CloseSession(h) // it is gone already, or goes now
		default:
			return
		}
	}
}

// term returns the two keys of a term. It is looked for in the token the first time.
func (s *session) term(n uint32) (pair, error) {
	s.l.mu.Lock()
	p, ok := s.l.terms[n]
	s.l.mu.Unlock()
	if ok {
		return p, nil
	}
	if err := s.t.Knows(n); err != nil {
		return pair{}, err
	}
	p, err := s.find(n)
	if err != nil {
		return pair{}, err
	}
	s.l.mu.Lock()
	s.l.terms[n] = p
	s.l.mu.Unlock()
	return p, nil
}

// verify checks a row's MAC under a term. The one answer to everything that is not right is vault.ErrRow.
func (s *session) verify(under p11.ObjectHandle, mac []byte, parts [][]byte) error {
	if len(mac) != key.BlockSize {
		return vault.ErrRow
	}
	if err := s.t.ck.VerifyInit(s.h, mechCMAC, under); err != nil {
		return err
	}
	err := s.t.ck.Verify(s.h, key.Framed(parts...), mac)
	if is(err, p11.CKR_SIGNATURE_INVALID, p11.CKR_SIGNATURE_LEN_RANGE) {
		return vault.ErrRow
	}
	return err
}

// sum is the AES-CMAC of a text.
func (s *session) sum(under p11.ObjectHandle, text []byte) ([]byte, error) {
	if err := s.t.ck.SignInit(s.h, mechCMAC, under); err != nil {
		return nil, err
	}
	out, err := s.t.ck.Sign(s.h, text)
	if err == nil && len(out) != key.BlockSize {
		return nil, fmt.Errorf("%w: an AES-CMAC of %d bytes", vault.ErrToken, len(out))
	}
	return out, err
}

// unwrap brings a key into the token, for as long as the operation lasts.
func (s *session) unwrap(under p11.ObjectHandle, blob []byte, as []*p11.Attribute) (p11.ObjectHandle, error) {
	if len(blob) != wrappedSize {
		return 0, errBlob
	}
	o, err := s.t.ck.UnwrapKey(s.h, mechWrap, under, blob, as)
	if err != nil {
		if vague(err) || is(err, p11.CKR_WRAPPED_KEY_INVALID, p11.CKR_WRAPPED_KEY_LEN_RANGE, p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE) {
			return 0, fmt.Errorf("%w (%w)", errBlob, err)
		}
		return 0, err
	}
	s.made = append(s.made, o)
	return o, nil
}

// wrap takes a key out of the token under another one.
func (s *session) wrap(under, k p11.ObjectHandle) ([]byte, error) {
	blob, err := s.t.ck.WrapKey(s.h, mechWrap, under, k)
	if err == nil && len(blob) != wrappedSize {
		return nil, fmt.Errorf("%w: a wrapped key of %d bytes", vault.ErrToken, len(blob))
	}
	return blob, err
}

// names computes the public names of a key.
func (s *session) names(k p11.ObjectHandle) (cv key.CheckValue, fp key.Fingerprint, err error) {
	long, err := s.sum(k, []byte(key.FingerprintText))
	if err != nil {
		return cv, fp, err
	}
	short, err := s.sum(k, []byte(key.CheckValueText))
	if err != nil {
		return cv, fp, err
	}
	return key.CheckValue(short[:len(cv)]), key.Fingerprint(long), nil
}

// isNamed proves that a key is the one that its row says.
func (s *session) isNamed(k p11.ObjectHandle, want key.Fingerprint) error {
	got, err := s.sum(k, []byte(key.FingerprintText))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, want[:]) != 1 {
		return vault.ErrRow
	}
	return nil
}
