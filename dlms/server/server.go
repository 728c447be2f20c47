package server

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

// Device is what a server serves. Its methods are called with the server's lock held, one APDU at a time; they may
// call CloseGeneration and must not call Handle.
type Device interface {
	// SystemTitle is the device's own.
	SystemTitle() dlms.SystemTitle
	// LongTerm returns the key in force of a security setup. An error refuses the key: a device that cannot read a
	// floor returns one rather than a floor of zero.
	LongTerm(setup dlms.OBIS) (*security.LongTerm, error)
	// Event tells what happened to an association.
	Event(Event)
}

// ErrNoPeerKey is wrapped by a [PeerKeys] that has no key for who calls. He is told that his title is not recognised.
var ErrNoPeerKey = errors.New("server: no key for this peer")

// PeerKeys is a [Device] whose long-term keys differ by who calls, for a [Client] with PerPeer.
type PeerKeys interface {
	// PeerLongTerm returns the key of a security setup for the peer with that system title, who sent info as the
	// implementation information (GB 9.4.2) of his AARQ. Nothing of it is authentic: what is kept of him may change in
	// the floor's Commit, which follows the tag, and not here. The same title and info get the same key and counters
	// while the generation lasts. An error that wraps ErrNoPeerKey refuses him for good. It is called as the methods of
	// Device are.
	PeerLongTerm(setup dlms.OBIS, peer dlms.SystemTitle, info []byte) (*security.LongTerm, error)
}

// SecretHolder is a [Device] with clients that authenticate by a password (MechanismLLS) or by a secret
// (MechanismSHA256).
type SecretHolder interface {
	// Secret returns the password or secret of the client of that name. An error refuses the client for now. It is
	// called as the methods of Device are.
	Secret(client string) (key.Secret, error)
}

// BroadcastHolder is a [Device] that holds global broadcast keys (GB 9.2.3.3.5), for a [Client] with GlobalBroadcast.
type BroadcastHolder interface {
	// BroadcastKey returns the global broadcast key of a security setup with the floors of those who send under it.
	// There is no sending counter: a device seals nothing under it. It is called as the methods of Device are.
	BroadcastKey(setup dlms.OBIS) (*security.Cipher, security.ReceiveFloor, error)
}

// Options are shared by all devices that are served alike.
type Options struct {
	// Now is the time of the host, which no client can set and which does not go back: ages and rates count on it,
	// and an association from the future is ended. nil is time.Now.
	Now func() time.Time
	// Rand is the source of challenges. nil is crypto/rand.
	Rand io.Reader
	// Log takes what no answer may tell. nil discards.
	Log *slog.Logger
	// HalfOpenAge is how long an association may wait for pass 3 of HLS; 0 means 60 s.
	HalfOpenAge time.Duration
	// MaxResponse bounds the value that one GET reads, in encoded bytes, and the parameter that SET and ACTION take
	// in blocks; 0 means 256 KiB.
	MaxResponse int
	// WrapAEAD watches the AEAD of every dedicated key, for a test's nonce oracle. nil leaves them alone.
	WrapAEAD func(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD
}

const (
	defaultHalfOpenAge = time.Minute
	defaultMaxResponse = 256 << 10
)

func (o *Options) complete() *Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HalfOpenAge <= 0 {
		c.HalfOpenAge = defaultHalfOpenAge
	}
	if c.MaxResponse <= 0 {
		c.MaxResponse = defaultMaxResponse
	}
	return &c
}

// Kind is a model with options: what all devices of a fleet share.
type Kind struct {
	model   *Model
	options *Options
	// next is a call of an APDU that was served, with its buffers, for the next one. spare are more of them, at most
	// maxSpare: a fleet needs as many as it serves at once.
	next  atomic.Pointer[call]
	mu    sync.Mutex
	spare []*call
}

// NewKind joins a model with options, once for a fleet.
func NewKind(model *Model, options *Options) *Kind {
	return &Kind{model: model, options: options.complete()}
}

// Server serves one device. It is safe for concurrent use.
type Server struct {
	kind   *Kind
	device Device

	mu    sync.Mutex
	slots []*slot // by index of the model's endpoint; nil until somebody comes
	// sent is the one counter that this device spends under dedicated keys, whichever, from whomever: a session key
	// that comes a second time, whatever came in between and on whatever SAP, meets no nonce again.
	sent security.MemoryCounter

	closing sync.Mutex
	toClose []generation
	replace atomic.Bool // toClose may not be empty
}

// generation names one version of the key of one security setup.
type generation struct {
	setup  dlms.OBIS
	number uint32
}

// slot is what is kept for one (link, client SAP).
type slot struct {
	limit limiter
	// guesses bounds wrong passwords. Unlike limit it bounds attempts.
	guesses limiter
	assoc   *association
	past    []pastSession // of the associations that brought a dedicated key, the newest last
}

// New returns a server of device. For a fleet, make one Kind and use Kind.New.
func New(model *Model, device Device, options *Options) *Server {
	return NewKind(model, options).New(device)
}

// New returns a server of device.
func (k *Kind) New(device Device) *Server { return &Server{kind: k, device: device} }

// Handle serves one APDU that came over the link of that name, and returns the answer, nil for silence. The answer is
// the caller's. Bad input of any kind gets one of the answers of the package comment and loses nothing.
func (s *Server) Handle(ctx context.Context, linkName string, req link.Request) []byte {
	return s.HandleAppend(ctx, linkName, req, nil)
}

// HandleAppend is Handle with the answer appended to dst, so that a link can keep one buffer. Silence returns dst as it
// is. req.APDU and dst must not overlap.
func (s *Server) HandleAppend(ctx context.Context, linkName string, req link.Request, dst []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReplaced()
	c := s.kind.take()
	c.server, c.req, c.dst = s, req, dst
	c.env.Context, c.env.Device, c.env.Now = ctx, s.device, s.kind.options.Now()
	c.env.Link, c.env.Client = linkName, req.Client
	dst = c.serve()
	c.env.Finish()
	s.closeReplaced()
	s.kind.put(c)
	return dst
}

// Handler serves the link of that name. It is a link.Appender too.
func (s *Server) Handler(linkName string) link.Handler { return &handler{s, linkName} }

type handler struct {
	server *Server
	link   string
}

// HandleAPDU implements link.Handler.
func (h *handler) HandleAPDU(ctx context.Context, r link.Request) []byte {
	return h.server.HandleAppend(ctx, h.link, r, nil)
}

// AppendAPDU implements link.Appender.
func (h *handler) AppendAPDU(ctx context.Context, r link.Request, dst []byte) []byte {
	return h.server.HandleAppend(ctx, h.link, r, dst)
}

// Disconnected implements link.Disconnecter: on a line that knows no addresses, the next who comes under the same SAP
// may be another. An association that is ciphered, or bound to an address, is not touched: anybody can end a link in
// anybody's name.
func (h *handler) Disconnected(client dlms.SAP) { h.server.disconnected(h.link, client) }

func (s *Server) disconnected(linkName string, client dlms.SAP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.kind.model.endpoint(linkName, client)
	if i < 0 || s.slots == nil || s.slots[i] == nil {
		return
	}
	if a := s.slots[i].assoc; a != nil && a.bound() && a.remote == nil {
		s.end(i, ErrLinkEnded)
	}
}

// CloseGeneration closes every association that was opened under one generation of the key of setup, before the next
// APDU is served. It may be called from anywhere, also from a method of the device or of an object: the APDU being
// served is then still answered under its old session.
func (s *Server) CloseGeneration(setup dlms.OBIS, number uint32) {
	s.closing.Lock()
	s.toClose = append(s.toClose, generation{setup, number})
	s.replace.Store(true)
	s.closing.Unlock()
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		s.closeReplaced()
	}
	// Else an APDU is being served: Handle closes at its end, or at the latest before the next one.
}

func (s *Server) closeReplaced() {
	if !s.replace.Load() {
		return
	}
	s.closing.Lock()
	replaced := s.toClose
	s.toClose = nil
	s.replace.Store(false)
	s.closing.Unlock()
	for _, g := range replaced {
		for i, sl := range s.slots {
			if sl != nil && sl.assoc != nil && sl.assoc.key == g {
				s.end(i, ErrKeyReplaced)
			}
		}
	}
}

// Sweep ends the associations that are over: too old, or half-open for too long. Handle does so for the association
// that an APDU comes for; a device that wants to hear of the others calls Sweep now and then.
func (s *Server) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReplaced()
	now := s.kind.options.Now()
	for i, sl := range s.slots {
		if sl == nil || sl.assoc == nil {
			continue
		}
		if why := sl.assoc.over(now, s.kind.model.endpoints[i].client, s.kind.options); why != nil {
			s.end(i, why)
		}
	}
}

// end closes the association of a slot and tells the device.
func (s *Server) end(i int, why error) {
	a := s.slots[i].assoc
	if a == nil {
		return
	}
	s.slots[i].assoc = nil
	kind := EventClosed
	if !a.open {
		kind = EventFailed
	}
	s.device.Event(s.event(i, kind, a, why))
}

func (s *Server) event(i int, kind EventKind, a *association, why error) Event {
	ep := s.kind.model.endpoints[i]
	e := Event{Kind: kind, Link: ep.link, Client: ep.client.SAP, Name: ep.client.Name, Err: why}
	if a != nil {
		e.Peer, e.Setup, e.Generation = a.peer, a.key.setup, a.key.number
		e.ImplementationInfo = a.info
	}
	return e
}

// slot returns the slot of an endpoint, made when it is first needed.
func (s *Server) slot(i int) *slot {
	if s.slots == nil {
		s.slots = make([]*slot, len(s.kind.model.endpoints))
	}
	if s.slots[i] == nil {
		s.slots[i] = new(slot)
	}
	return s.slots[i]
}

// Associations returns the number of associations that are open, and of those that wait for pass 3 of HLS.
func (s *Server) Associations() (open, half int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		switch {
		case sl == nil || sl.assoc == nil:
		case sl.assoc.open:
			open++
		default:
			half++
		}
	}
	return open, half
}
