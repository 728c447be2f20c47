package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/internal/defence"
)

// DefaultTTL is how long a lease is held without renewal.
const DefaultTTL = 30 * time.Second

// Options of New.
type Options struct {
	// Now is the clock. Required.
	Now func() time.Time
	// TTL is how long a lease is held without renewal, DefaultTTL by default, at most Horizon.
	TTL time.Duration
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger
	// Still renews nothing in the background: whoever holds a lease renews it, or loses it to somebody who asks for it.
	Still bool
	// Without takes defences away, for the simulation alone.
	Without defence.Set
}

// Manager takes leases for one owner, which must be the name of one process.
type Manager struct {
	store Store
	owner string
	o     Options
}

// New returns the Manager of owner.
func New(store Store, owner string, o Options) *Manager {
	o.TTL = min(cmp.Or(o.TTL, DefaultTTL), Horizon)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{store: store, owner: owner, o: o}
}

// Owner is in whose name leases are taken.
func (m *Manager) Owner() string { return m.owner }

// Acquire takes those of names that nobody else holds, in one commit. What is missing in the answer is held by others.
func (m *Manager) Acquire(ctx context.Context, names ...Name) ([]Lease, error) {
	if len(names) == 0 {
		return nil, nil
	}
	now := m.o.Now()
	got, err := m.store.AcquireLeases(ctx, m.owner, now, now.Add(m.o.TTL), names)
	if err != nil {
		return nil, fmt.Errorf("acquire leases: %w", err)
	}
	return got, nil
}

// Renew moves the ends of leases by a TTL from now, in one commit. The answer lacks those that were lost.
func (m *Manager) Renew(ctx context.Context, leases ...Lease) ([]Lease, error) {
	if len(leases) == 0 {
		return nil, nil
	}
	kept, err := m.store.RenewLeases(ctx, m.o.Now().Add(m.o.TTL), leases)
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	return kept, nil
}

// Release gives leases up, in one commit. Those that were lost are passed over.
func (m *Manager) Release(ctx context.Context, leases ...Lease) error {
	if len(leases) == 0 {
		return nil
	}
	if err := m.store.ReleaseLeases(ctx, leases); err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	return nil
}

// Held is a number of leases that are renewed until Release.
type Held struct {
	m      *Manager
	cancel context.CancelFunc
	done   chan struct{}

	renewing sync.Mutex // by check: many find at once that it is time

	mu     sync.Mutex
	leases map[Name]*holding
}

type holding struct {
	lease Lease
	ctx   context.Context //nolint:containedctx // handed out by Context: it ends with the lease
	lose  context.CancelCauseFunc
}

// Hold acquires what is free and keeps renewing it, in the background, every third of the TTL. Release must be called.
func (m *Manager) Hold(ctx context.Context, names ...Name) (*Held, error) {
	got, err := m.Acquire(ctx, names...)
	if err != nil {
		return nil, err
	}
	renewCtx, cancel := context.WithCancel(ctx)
	h := &Held{m: m, cancel: cancel, done: make(chan struct{}), leases: make(map[Name]*holding, len(got))}
	for _, l := range got {
		c, lose := context.WithCancelCause(guarded(With(ctx, l), func(ctx context.Context) error { return h.check(ctx, l.Name) }))
		h.leases[l.Name] = &holding{l, c, lose}
	}
	if m.o.Still {
		close(h.done)
		return h, nil
	}
	go h.keep(renewCtx)
	return h, nil
}

// Context returns the context for work under one of the leases; false: somebody else holds it. Writes with it are
// fenced, and it is cancelled, with ErrFenced as its cause, once the lease is known to be lost.
func (h *Held) Context(name Name) (context.Context, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.leases[name]
	if !ok {
		return nil, false
	}
	return l.ctx, true
}

// check is what Check asks for one of the leases.
func (h *Held) check(ctx context.Context, name Name) error {
	if h.m.o.Without.Off(defence.Fencing) {
		return nil
	}
	h.renewing.Lock()
	defer h.renewing.Unlock()
	l, held := h.lease(name)
	if left := l.Until.Sub(h.m.o.Now()); held && (left <= h.m.o.TTL/2 || left > h.m.o.TTL) {
		if err := h.Renew(ctx); err != nil {
			return err
		}
		_, held = h.lease(name)
	}
	if !held {
		return fmt.Errorf("%w: %s", ErrFenced, name)
	}
	return nil
}

func (h *Held) lease(name Name) (l Lease, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if held := h.leases[name]; held != nil {
		return held.lease, true
	}
	return l, false
}

// Leases returns those that are held as far as is known, in no order.
func (h *Held) Leases() []Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Lease, 0, len(h.leases))
	for _, l := range h.leases {
		out = append(out, l.lease)
	}
	return out
}

func (h *Held) keep(ctx context.Context) {
	defer close(h.done)
	t := time.NewTicker(h.m.o.TTL / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := h.Renew(ctx); err != nil {
				h.m.o.Log.Warn("leases could not be renewed", "error", err)
			}
		}
	}
}

// Renew renews all of them now; those that were lost end their contexts. A database that cannot be reached costs nothing
// yet: the next renewal may come in time, and if it does not, the token decides.
func (h *Held) Renew(ctx context.Context) error {
	before := h.Leases()
	kept, err := h.m.Renew(ctx, before...)
	if err != nil && !errors.Is(err, ErrFenced) { // fenced: this very process was replaced, and nothing is kept
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, l := range h.leases {
		i := slices.IndexFunc(kept, func(k Lease) bool { return k.Name == name })
		if i >= 0 {
			l.lease = kept[i]
			continue
		}
		delete(h.leases, name)
		l.lose(fmt.Errorf("%w: %s", ErrFenced, l.lease))
		h.m.o.Log.Warn("a lease was lost", "lease", name.String(), "token", l.lease.Token)
	}
	return nil
}

// releaseTimeout bounds the release of work that was told to stop.
const releaseTimeout = 5 * time.Second

// Release stops renewing and gives up what is held, even when ctx has ended.
func (h *Held) Release(ctx context.Context) error {
	h.cancel()
	<-h.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	err := h.m.Release(ctx, h.Leases()...)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.leases {
		l.lose(context.Canceled)
	}
	return err
}
