package dlmstest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
)

// ErrQueueFull is returned by Send when an end has not received for far too long.
var ErrQueueFull = errors.New("dlmstest: queue full, nobody receives")

const maxQueue = 4096

// Direction is where a frame goes.
type Direction int

// Directions.
const (
	ToServer Direction = iota
	ToClient
)

// String returns "to server" or "to client".
func (d Direction) String() string {
	if d == ToServer {
		return "to server"
	}
	return "to client"
}

// Frame is one APDU on its way.
type Frame struct {
	// Dir is the way that it goes.
	Dir Direction
	// N is its number among the frames that were sent in this direction, from 0.
	N int
	// APDU is not shared with the sender.
	APDU []byte
	// After delays the delivery. Inside a testing/synctest bubble the time is virtual.
	After time.Duration
}

// Script is the hostile middle: for each frame that an end sent it returns the frames to deliver, in any direction.
// It is called for one frame at a time.
type Script func(f Frame) []Frame

// Hostile is an in-memory link whose middle is in the hands of an attacker. Its two ends are link.Conn.
type Hostile struct {
	ends [2]*end // by the direction that they receive from

	mu     sync.Mutex
	script Script
	sent   []Frame
	count  [2]int
	timers []*time.Timer
	closed bool
}

// NewHostile makes a link with script in its middle; nil means Pass.
func NewHostile(script Script) *Hostile {
	h := &Hostile{}
	for _, d := range []Direction{ToServer, ToClient} {
		h.ends[d] = &end{hostile: h, receives: d, arrived: make(chan struct{}, 1), done: make(chan struct{})}
	}
	h.SetScript(script)
	return h
}

// Client returns the client's end.
func (h *Hostile) Client() link.Conn { return h.ends[ToClient] }

// Server returns the server's end.
func (h *Hostile) Server() link.Conn { return h.ends[ToServer] }

// SetScript changes the script. Frame numbers go on.
func (h *Hostile) SetScript(script Script) {
	if script == nil {
		script = Pass
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script = script
}

// Sent returns everything that the two ends sent so far, in order, as an eavesdropper has it.
func (h *Hostile) Sent() []Frame {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

// Inject delivers a frame of the attacker's own; the script does not see it.
func (h *Hostile) Inject(dir Direction, apdu []byte) error {
	return h.ends[dir].deliver(bytes.Clone(apdu))
}

// Close closes both ends and drops what is still on its way.
func (h *Hostile) Close() error {
	h.mu.Lock()
	h.closed = true
	timers := h.timers
	h.timers = nil
	h.mu.Unlock()
	for _, t := range timers {
		t.Stop()
	}
	for _, e := range h.ends {
		e.shut()
	}
	return nil
}

// Serve answers at the server's end with handler, as client and server SAP, until ctx is done or the link is closed.
func (h *Hostile) Serve(ctx context.Context, handler link.Handler, client, server dlms.SAP) error {
	conn := h.Server()
	for {
		apdu, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		reply := handler.HandleAPDU(ctx, link.Request{Client: client, Server: server, APDU: apdu})
		if reply == nil {
			continue
		}
		if err := conn.Send(ctx, reply); err != nil {
			return err
		}
	}
}

// carry takes a frame from an end through the script. The lock is held over the deliveries, so that what one end
// sends arrives in the order that the script gives.
func (h *Hostile) carry(dir Direction, apdu []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return link.ErrClosed
	}
	f := Frame{Dir: dir, N: h.count[dir], APDU: bytes.Clone(apdu)}
	h.count[dir]++
	h.sent = append(h.sent, Frame{Dir: dir, N: f.N, APDU: bytes.Clone(apdu)})
	var errs []error
	for _, out := range h.script(f) {
		errs = append(errs, h.forwardLocked(out))
	}
	return errors.Join(errs...)
}

func (h *Hostile) forwardLocked(f Frame) error {
	to, apdu := h.ends[f.Dir], bytes.Clone(f.APDU)
	if f.After <= 0 {
		return to.deliver(apdu)
	}
	h.timers = append(h.timers, time.AfterFunc(f.After, func() {
		_ = to.deliver(apdu) // nobody is left to be told: a late frame that finds a closed link is lost
	}))
	return nil
}

// end is one end. It receives frames of one direction and sends in the other.
type end struct {
	hostile  *Hostile
	receives Direction
	arrived  chan struct{} // holds a token while the queue may be non-empty

	once sync.Once
	done chan struct{}

	mu    sync.Mutex
	queue [][]byte
}

// Send implements link.Conn.
func (e *end) Send(ctx context.Context, apdu []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-e.done:
		return link.ErrClosed
	default:
	}
	dir := ToServer
	if e.receives == ToServer {
		dir = ToClient
	}
	return e.hostile.carry(dir, apdu)
}

// Receive implements link.Conn.
func (e *end) Receive(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if apdu, ok := e.take(); ok {
			return apdu, nil
		}
		select {
		case <-e.arrived:
		case <-e.done:
			return nil, link.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close implements link.Conn. It closes this end alone; the other one waits in vain, as on a real line.
func (e *end) Close() error {
	e.shut()
	return nil
}

func (e *end) shut() { e.once.Do(func() { close(e.done) }) }

func (e *end) take() ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return nil, false
	}
	apdu := e.queue[0]
	e.queue = e.queue[1:]
	if len(e.queue) > 0 {
		e.signal()
	}
	return apdu, true
}

func (e *end) deliver(apdu []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxQueue {
		return ErrQueueFull
	}
	e.queue = append(e.queue, apdu)
	e.signal()
	return nil
}

func (e *end) signal() {
	select {
	case e.arrived <- struct{}{}:
	default:
	}
}
