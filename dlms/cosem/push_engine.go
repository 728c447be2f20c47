package cosem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Errors of a PushEngine.
var (
	// ErrPushQueue is returned by [PushEngine.Trigger] when as many pushes wait as the queue holds, or for one that is
	// too long.
	ErrPushQueue = errors.New("push: the queue is full")
	// ErrPushWindow is the end of a push whose communication windows are all over.
	ErrPushWindow = errors.New("push: no communication window left")
	// ErrPushGivenUp is the end of a push whose retries are used up.
	ErrPushGivenUp = errors.New("push: no retries left")
)

// PushSender sends one APDU, in plain: ciphering and the link are its business, and every attempt of a push is to be
// ciphered anew. An error has it called again, as the setup says.
type PushSender func(ctx context.Context, plain []byte, to PushDestination) error

// PushClock is the clock of a PushEngine.
type PushClock interface {
	// Now is the time of the meter.
	Now() time.Time
	// After returns a channel on which something comes once d is over.
	After(d time.Duration) <-chan time.Time
}

// PushEngineConfig describes a PushEngine.
type PushEngineConfig struct {
	// Setup returns the setup as it is now. A push keeps to the one that it was triggered under.
	Setup func() (PushSetup, error)
	// Objects reads the push objects.
	Objects AttributeReader
	// Send carries one APDU to the destination.
	Send PushSender
	// Clock is that of the meter.
	Clock PushClock
	// Rand puts off the first attempt.
	Rand io.Reader
	// Queue is how many pushes may wait, 0 means 16; MaxSize bounds an APDU, in bytes, 0 means 4,096.
	Queue, MaxSize int
	// Local is the zone of the windows; nil is UTC.
	Local *time.Location
	// Report is told the end of every push: nil when it was sent, else ErrPushGivenUp or ErrPushWindow with the last
	// error; nil tells nobody.
	Report func(err error)
}

// Defaults of PushEngineConfig.
const (
	defaultPushQueue = 16
	defaultPushSize  = 4096
)

// PushEngine sends what a Push setup says, when it says so, and again where it fails. The values are those at the time
// of the trigger. It never holds more than its queue, and sends one push after the other. It is safe for concurrent
// use.
type PushEngine struct {
	cfg  PushEngineConfig
	wake chan struct{}

	// stepping is held while a push is being sent: never two at a time.
	stepping sync.Mutex

	mu    sync.Mutex
	queue []*push
	id    uint32
}

// push is one message that waits.
type push struct {
	setup    PushSetup
	plain    []byte
	due      time.Time
	attempts int
}

// NewPushEngine fills in the defaults.
func NewPushEngine(cfg PushEngineConfig) (*PushEngine, error) {
	if cfg.Setup == nil || cfg.Objects == nil || cfg.Send == nil || cfg.Clock == nil || cfg.Rand == nil {
		return nil, fmt.Errorf("push: %w: want setup, objects, sender, clock and randomness", ErrValue)
	}
	if cfg.Queue <= 0 {
		cfg.Queue = defaultPushQueue
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = defaultPushSize
	}
	if cfg.Local == nil {
		cfg.Local = time.UTC
	}
	return &PushEngine{cfg: cfg, wake: make(chan struct{}, 1)}, nil
}

// Waiting returns how many pushes wait.
func (e *PushEngine) Waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.queue)
}

// Trigger reads the push objects of the device in env and queues a data-notification of them (GB 9.3.10). It returns
// at once; Run or Step sends. It serves method push: a full queue is a temporary failure there.
func (e *PushEngine) Trigger(env *Env) error {
	if e.Waiting() >= e.cfg.Queue {
		return fmt.Errorf("%w: %w", ErrPushQueue, dlms.ActionTemporaryFailure)
	}
	setup, err := e.cfg.Setup()
	if err != nil {
		return err
	}
	body, err := PushBody(env, e.cfg.Objects, setup.Objects)
	if err != nil {
		return err
	}
	delay, err := e.delay(setup.RandomStart)
	if err != nil {
		return err
	}
	return e.add(setup, body, delay)
}

func (e *PushEngine) add(setup PushSetup, body dlms.Data, delay time.Duration) error {
	now := e.cfg.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id = (e.id + 1) & 0xFFFFFF
	plain, err := apdu.DataNotification{
		ID: apdu.LongInvokeID(e.id), HasTime: true, Time: dlms.DateTimeOf(now.In(e.cfg.Local), 0), Body: body,
	}.AppendBinary(nil)
	if err != nil {
		return err
	}
	if len(plain) > e.cfg.MaxSize || len(e.queue) >= e.cfg.Queue {
		return fmt.Errorf("%w: %w", ErrPushQueue, dlms.ActionTemporaryFailure)
	}
	p := &push{setup: setup, plain: plain, due: now}
	if !setup.open(now, e.cfg.Local) {
		opens, ok := setup.opens(now, e.cfg.Local)
		if !ok {
			return fmt.Errorf("%w: %w", ErrPushWindow, dlms.ActionTemporaryFailure)
		}
		p.due = opens
	}
	p.due = p.due.Add(delay)
	e.queue = append(e.queue, p)
	select {
	case e.wake <- struct{}{}:
	default: // Run has been woken already
	}
	return nil
}

// delay draws from 0 to so many seconds.
func (e *PushEngine) delay(seconds uint16) (time.Duration, error) {
	if seconds == 0 {
		return 0, nil
	}
	var b [4]byte
	if _, err := io.ReadFull(e.cfg.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("push: randomness: %w", err)
	}
	// In milliseconds, whose product still fits.
	ms := uint64(binary.BigEndian.Uint32(b[:])) * uint64(seconds) * 1000 >> 32
	return time.Duration(ms) * time.Millisecond, nil
}

// Step sends every push that is due, one after the other, and returns when the next one is; the zero time when none
// waits. An error is that of ctx.
func (e *PushEngine) Step(ctx context.Context) (time.Time, error) {
	e.stepping.Lock()
	defer e.stepping.Unlock()
	for {
		if ctx.Err() != nil {
			return time.Time{}, context.Cause(ctx)
		}
		p := e.first()
		now := e.cfg.Clock.Now()
		if p == nil {
			return time.Time{}, nil
		}
		if p.due.After(now) {
			return p.due, nil
		}
		e.attempt(ctx, p, now)
	}
}

// first returns the push that is due first, of two the older one.
func (e *PushEngine) first() *push {
	e.mu.Lock()
	defer e.mu.Unlock()
	var first *push
	for _, p := range e.queue {
		if first == nil || p.due.Before(first.due) {
			first = p
		}
	}
	return first
}

// attempt sends a push, or puts it off to the next window. stepping is held, so that nobody else changes p.
func (e *PushEngine) attempt(ctx context.Context, p *push, now time.Time) {
	if !p.setup.open(now, e.cfg.Local) {
		opens, ok := p.setup.opens(now, e.cfg.Local)
		if !ok {
			e.end(p, ErrPushWindow)
			return
		}
		e.put(p, opens)
		return
	}
	err := e.cfg.Send(ctx, p.plain, p.setup.Destination)
	if err == nil {
		e.end(p, nil)
		return
	}
	if ctx.Err() != nil {
		return // it was not the line
	}
	if p.attempts++; p.attempts > int(p.setup.Retries) {
		e.end(p, fmt.Errorf("%w: %w", ErrPushGivenUp, err))
		return
	}
	e.put(p, e.cfg.Clock.Now().Add(time.Duration(p.setup.RepetitionDelay)*time.Second))
}

func (e *PushEngine) put(p *push, due time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p.due = due
}

// end takes a push out of the queue.
func (e *PushEngine) end(p *push, why error) {
	e.mu.Lock()
	for i := range e.queue {
		if e.queue[i] == p {
			e.queue = append(e.queue[:i], e.queue[i+1:]...)
			break
		}
	}
	e.mu.Unlock()
	if e.cfg.Report != nil {
		e.cfg.Report(why)
	}
}

// Run sends until ctx ends, and returns its cause.
func (e *PushEngine) Run(ctx context.Context) error {
	for {
		next, err := e.Step(ctx)
		if err != nil {
			return err
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = e.cfg.Clock.After(next.Sub(e.cfg.Clock.Now()))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.wake:
		case <-timer:
		}
	}
}
