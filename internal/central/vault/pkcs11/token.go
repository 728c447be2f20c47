//go:build pkcs11

package pkcs11

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/transport"
)

// Options of Open and Init.
type Options struct {
	// PIN gives the user PIN of the token. It is asked for once; it stays in memory, for a session that was lost.
	PIN func() (string, error)
	// Sessions is how many operations the token does at a time, 4 by default. A token that allows fewer gets fewer.
	Sessions int
	// GCMInProcess has CC_IS and CC_LAN taken into this process for an association also where the token could use them
	// itself: for one whose GCM turns out not to be what the probe saw.
	GCMInProcess bool
	// Rand is the source of the RSA key that keys are taken out under, where GCM is not in the token; required.
	Rand io.Reader
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger

	// between stands between this package and the module, for tests.
	between func(cryptoki) cryptoki
}

// Token is a vault's keys in a PKCS#11 token. It is safe for concurrent use.
type Token struct {
	*vault.TokenRoot
	ck   cryptoki
	opts Options
	pin  func() string // a closure, which no verb walks into
	tmpl templates
	gcm  bool // in the token
	out  window
	told vault.Description
	to   transport.Public
	weak map[key.Fingerprint]bool

	mu      sync.Mutex
	link    *link
	refused error // by the token, of the PIN: for good
	closed  bool
}

var _ vault.Hold = (*Token)(nil)

// ErrClosed is returned by a token that was closed.
var ErrClosed = errors.New("vault: the token was closed")

// Open opens the token of a root file. It must hold every term of the root.
func Open(root *vault.TokenRoot, o Options) (*Token, error) {
	t, err := newToken(root, o)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	if err := t.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("open vault: %w", err), t.Close())
	}
	return t, nil
}

func newToken(root *vault.TokenRoot, o Options) (*Token, error) {
	if o.PIN == nil || o.Rand == nil {
		return nil, errors.New("token: want a PIN and a source of randomness")
	}
	if o.Sessions <= 0 {
		o.Sessions = 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ck, err := load(root.Place().Module)
	if err != nil {
		return nil, err
	}
	if o.between != nil {
		ck = o.between(ck)
	}
	pin, err := o.PIN()
	if err != nil {
		return nil, err
	}
	weak, err := constants()
	if err != nil {
		return nil, err
	}
	return &Token{TokenRoot: root, ck: ck, opts: o, pin: func() string { return pin }, tmpl: newTemplates(false), weak: weak}, nil
}

// begin looks at everything once, so that what is missing is said when the vault is opened.
func (t *Token) begin() error {
	var trusted bool
	err := t.do("look for the root", func(s *session) error {
		for _, n := range t.Terms() {
			p, err := s.term(n)
			if err != nil {
				return err
			}
			if n == t.Term() {
				trusted = s.flag(p.wrap, p11.CKA_TRUSTED)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.tmpl = newTemplates(trusted)
	if err := t.probe(trusted); err != nil {
		return err
	}
	if err := t.tryTransport(); err != nil {
		return err
	}
	if !t.gcm {
		return t.out.open(t.opts.Rand)
	}
	return nil
}

// connected returns the connection, or makes one.
func (t *Token) connected() (*link, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, ErrClosed
	case t.refused != nil:
		return nil, t.refused
	case t.link != nil:
		return t.link, nil
	}
	l, err := t.connectLocked()
	if err != nil {
		return nil, err
	}
	t.link = l
	return l, nil
}

func (t *Token) connectLocked() (*link, error) {
	slot, info, err := t.slot()
	if err != nil {
		return nil, err
	}
	h, err := t.ck.OpenSession(slot, p11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, told("open a session", err)
	}
	if err := t.ck.Login(h, p11.CKU_USER, t.pin()); err != nil && !is(err, p11.CKR_USER_ALREADY_LOGGED_IN) {
		err = errors.Join(told("log in to token "+t.Place().Label, err), t.ck.CloseSession(h))
		if refusesPIN(err) {
			t.refused = err
		}
		return nil, err
	}
	l := &link{
		slot: slot, info: info, terms: map[uint32]pair{}, open: 1, most: t.opts.Sessions,
		idle: make(chan p11.SessionHandle, t.opts.Sessions), dead: make(chan struct{}),
	}
	l.idle <- h
	return l, nil
}

// slot finds the token by its label, and where several bear it by its serial number.
func (t *Token) slot() (uint, p11.TokenInfo, error) {
	slots, err := t.ck.GetSlotList(true)
	if err != nil {
		return 0, p11.TokenInfo{}, told("look for tokens", err)
	}
	want, found, at := t.Place(), []p11.TokenInfo{}, []uint{}
	for _, s := range slots {
		info, err := t.ck.GetTokenInfo(s)
		if err != nil || info.Label != want.Label {
			continue // a slot whose token is gone says so here
		}
		found, at = append(found, info), append(at, s)
	}
	i := 0
	if len(found) > 1 {
		i = slices.IndexFunc(found, func(f p11.TokenInfo) bool { return f.SerialNumber == want.Serial })
	}
	if len(found) == 0 || i < 0 {
		return 0, p11.TokenInfo{}, fmt.Errorf("%w: no token %q is in any slot of %s: it was removed, or another module serves it", vault.ErrToken, want.Label, want.Module)
	}
	return at[i], found[i], nil
}

// find looks for the keys of a term, and refuses objects that could give a key away.
func (s *session) find(term uint32) (p pair, err error) {
	if p.wrap, err = s.object(p11.CKO_SECRET_KEY, s.t.label("wrap", term)); err != nil {
		return p, err
	}
	p.mac, err = s.object(p11.CKO_SECRET_KEY, s.t.label("mac", term))
	return p, err
}

// label names an object of this vault.
func (t *Token) label(what string, term uint32) string {
	return fmt.Sprintf("meterseal %s %s %d", t.ID(), what, term)
}

func (s *session) object(class uint, label string) (p11.ObjectHandle, error) {
	got, err := s.objects(class, label)
	if err != nil {
		return 0, err
	}
	if len(got) != 1 {
		return 0, fmt.Errorf("%w: token %q has %d objects %q, want 1: it is another vault's, or was restored in part", vault.ErrRoot, s.t.Place().Label, len(got), label)
	}
	if !s.flag(got[0], p11.CKA_SENSITIVE) || s.flag(got[0], p11.CKA_EXTRACTABLE) || s.flag(got[0], p11.CKA_DECRYPT) {
		return 0, fmt.Errorf("%w: object %q could be read out of token %q, or decrypts: it was not made by this program", vault.ErrRoot, label, s.t.Place().Label)
	}
	return got[0], nil
}

func (s *session) objects(class uint, label string) ([]p11.ObjectHandle, error) {
	err := s.t.ck.FindObjectsInit(s.h, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, label),
	})
	if err != nil {
		return nil, err
	}
	got, _, err := s.t.ck.FindObjects(s.h, 2)
	return got, errors.Join(err, s.t.ck.FindObjectsFinal(s.h))
}

// flag reads a boolean attribute; one that cannot be read is false.
func (s *session) flag(o p11.ObjectHandle, attribute uint) bool {
	a, err := s.t.ck.GetAttributeValue(s.h, o, []*p11.Attribute{p11.NewAttribute(attribute, nil)})
	return err == nil && len(a) == 1 && len(a[0].Value) == 1 && a[0].Value[0] != 0
}

// term is the one that new rows are sealed under.
func (t *Token) term() uint32 { return t.Term() }

// Kind implements vault.Hold.
func (*Token) Kind() string { return vault.KindPKCS11 }

// Describe implements vault.Hold.
func (t *Token) Describe() vault.Description { return t.told }

// Close implements vault.Hold. What is under way fails. The login ends with the last session of this process.
func (t *Token) Close() error {
	t.mu.Lock()
	l := t.link
	t.closed = true
	t.mu.Unlock()
	if l != nil {
		t.drop(l)
	}
	return nil
}

// String names vault and token.
func (t *Token) String() string { return t.TokenRoot.String() + " in token " + t.Place().Label }

// Format prints String for every verb.
func (t *Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }
