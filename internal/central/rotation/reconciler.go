package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// How much a Reconciler has in hand. Many concentrators at once share their commits, and one whose line is slow holds
// nobody up; a pass takes a few times as many, because it ends when its last one does.
const (
	DefaultConcentrators = 128
	DefaultBatch         = 25_600
)

// Config says what a Reconciler works with. Store, Vault, Provisioner, Hand and Now are required.
type Config struct {
	Store       Store
	Vault       Vault
	Provisioner Provisioner
	Hand        Hand
	Now         func() time.Time
	Log         *slog.Logger
	// Width is how many meters of one concentrator are searched at once (default 8), Concentrators how many of those are in
	// hand (default DefaultConcentrators), Batch how many changes one pass takes (default DefaultBatch).
	Width, Concentrators, Batch int
	// RetryMin and RetryMax bound the time between two tries (defaults 2 s, 10 min).
	RetryMin, RetryMax time.Duration
	// Leases keeps several processes on one store from driving one concentrator. nil: there is only this one.
	Leases *lease.Manager
	// Escrow, if set, has versions kept outside before they are marked sent, so that none leaves that a vault without its
	// key journal could not have back.
	Escrow func(ctx context.Context, keys []role.KeyRef) error
	// Away names the concentrators that this process leaves to others for now, because it cannot reach them. May be nil.
	Away func(concentrator dlms.SystemTitle) bool
	// OnDone is told of each finished change.
	OnDone func(Change)
	// Without takes defences away, for the simulation alone.
	Without defence.Set
}

// Reconciler drives the changes. It holds no state that matters: kill it and start another.
type Reconciler struct {
	cfg     Config
	kick    chan struct{}
	adopted time.Time // when keys without a change were looked for
}

// New returns a Reconciler; Run drives it.
func New(cfg Config) *Reconciler {
	cfg.Width = cmp.Or(cfg.Width, 8)
	cfg.Concentrators = cmp.Or(cfg.Concentrators, DefaultConcentrators)
	cfg.Batch = cmp.Or(cfg.Batch, DefaultBatch)
	cfg.RetryMin = cmp.Or(cfg.RetryMin, 2*time.Second)
	cfg.RetryMax = cmp.Or(cfg.RetryMax, 10*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Away == nil {
		cfg.Away = func(dlms.SystemTitle) bool { return false }
	}
	if cfg.OnDone == nil {
		cfg.OnDone = func(Change) {}
	}
	return &Reconciler{cfg: cfg, kick: make(chan struct{}, 1)}
}

// Run takes passes until ctx ends. An error of one pass is logged and tried again: the rows still say what is due.
func (r *Reconciler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := r.Pass(ctx)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Error("rotation pass failed", "error", err)
		}
		if n > 0 && err == nil {
			continue
		}
		r.sleep(ctx)
	}
	return nil
}

func (r *Reconciler) sleep(ctx context.Context) {
	wait := r.cfg.RetryMin
	if _, next, err := r.cfg.Store.Open(ctx); err == nil && !next.IsZero() {
		wait = min(max(next.Sub(r.cfg.Now()), r.cfg.RetryMin/4), r.cfg.RetryMax)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.kick:
	case <-t.C:
	}
}

// Pass brings every change that is due as far as it goes and returns how many it took up.
func (r *Reconciler) Pass(ctx context.Context) (int, error) {
	if err := r.adopt(ctx); err != nil {
		return 0, err
	}
	work, err := r.take(ctx)
	if err != nil {
		return 0, err
	}
	due := work.due
	groups := map[dlms.SystemTitle][]*Change{}
	var order []dlms.SystemTitle
	for i := range due {
		d := due[i].Concentrator
		if groups[d] == nil {
			order = append(order, d)
		}
		groups[d] = append(groups[d], &due[i])
	}
	errs := make(chan error, len(groups))
	sem := make(chan struct{}, r.cfg.Concentrators)
	var wg sync.WaitGroup
	for _, d := range order {
		sem <- struct{}{}
		wg.Go(func() { defer func() { <-sem }(); errs <- r.group(work.context(ctx, d), d, groups[d]) })
	}
	wg.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return len(due), errors.Join(err, work.release(ctx))
}

// step brings changes of one concentrator's meters one step further, all or none.
type step func(ctx context.Context, concentrator dlms.SystemTitle, cs []*Change) error

// group takes the changes of one concentrator's meters through all steps together, one commit a step. What fails for one
// of them holds no other up.
func (r *Reconciler) group(ctx context.Context, concentrator dlms.SystemTitle, group []*Change) error {
	steps := []struct {
		from Step
		do   step
	}{
		{StepWanted, r.generate},
		{StepGenerated, r.provision},
		{StepProvisioned, r.send},
	}
	if err := r.resume(ctx, group); err != nil {
		return err
	}
	fresh := map[*Change]bool{} // marked sent by this very pass: nothing has left the house for it yet
	for _, s := range steps {
		at := only(group, func(c *Change) bool { return c.Step == s.from })
		if len(at) == 0 {
			continue
		}
		failed := r.together(ctx, concentrator, at, s.do)
		group = slices.DeleteFunc(group, func(c *Change) bool { return slices.Contains(failed, c) })
		for _, c := range at {
			fresh[c] = s.from == StepProvisioned && c.Step == StepSent
		}
	}
	r.meters(ctx, group, fresh)
	return r.conclude(ctx, group)
}

// together does a step for all at once; where that fails, one by one, so that one damaged row or one key that is
// refused holds nobody else up. It returns those that could not go on, postponed.
func (r *Reconciler) together(ctx context.Context, d dlms.SystemTitle, cs []*Change, do step) (failed []*Change) {
	err := do(ctx, d, cs)
	if err == nil {
		return nil
	}
	if errors.Is(err, lease.ErrFenced) { // another process has them: it, and not this one, writes how they stand
		r.cfg.Log.Warn("the lease of a concentrator was lost", "concentrator", d.String(), "error", err)
		return cs
	}
	for _, c := range cs {
		if len(cs) > 1 {
			err = do(ctx, d, []*Change{c})
		}
		if err == nil {
			continue
		}
		failed = append(failed, c)
		if errors.Is(err, vault.ErrState) { // given up already, as the key journal knows and a lost commit does not
			c.Step, c.To = StepWanted, 0
		}
		if !errors.Is(err, ErrMoved) { // then its row is another's to write
			err = r.postpone(ctx, c, err)
		}
		switch {
		case errors.Is(err, ErrMoved):
			r.cfg.Log.Info("a meter was moved in the middle of a key change", "key_ref", c.to().String())
		case err != nil:
			r.cfg.Log.Error("a key change could not be postponed", "key_ref", c.to().String(), "error", err)
		}
	}
	return failed
}

// generate makes n+1 (step 1) and the row that tells of it.
func (r *Reconciler) generate(ctx context.Context, _ dlms.SystemTitle, cs []*Change) error {
	was := clones(cs)
	err := r.cfg.Store.Update(ctx, func(ctx context.Context) error {
		refs, err := r.cfg.Vault.Generate(ctx, meterRoles(cs))
		if err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		for i, c := range cs {
			c.To, c.Step = refs[i].Version, StepGenerated
		}
		return r.save(ctx, cs)
	})
	return restored(cs, was, err)
}

// provision seals CC_LAN n+1 to the concentrator, which goes on with n (step 2). Other roles are not its business. No row
// tells of it: done twice, it does what it did once.
func (r *Reconciler) provision(ctx context.Context, d dlms.SystemTitle, cs []*Change) error {
	if lan := lanRefs(cs); len(lan) > 0 {
		if err := r.cfg.Provisioner.Provision(ctx, d, lan); err != nil {
			return fmt.Errorf("provision: %w", err)
		}
	}
	for _, c := range cs {
		c.Step = StepProvisioned
	}
	return nil
}

// send marks n+1 sent, durably, and then tells the concentrator to try it first (step 3). The mark comes before
// everything that could let the meter have the key; a crash after it costs one version and nothing else.
func (r *Reconciler) send(ctx context.Context, d dlms.SystemTitle, cs []*Change) error {
	if r.cfg.Escrow != nil {
		if err := r.cfg.Escrow(ctx, refs(cs)); err != nil {
			return err
		}
	}
	was := clones(cs)
	err := r.cfg.Store.Update(ctx, func(ctx context.Context) error {
		if err := r.cfg.Vault.MarkSent(ctx, refs(cs)); err != nil {
			return fmt.Errorf("mark sent: %w", err)
		}
		for _, c := range cs {
			c.Step, c.Attempts = StepSent, 0
		}
		return r.save(ctx, cs)
	})
	if err != nil {
		return restored(cs, was, err)
	}
	if lan := lanRefs(cs); len(lan) > 0 {
		if err := r.cfg.Provisioner.Provision(ctx, d, lan); err != nil {
			return fmt.Errorf("tell sent: %w", err)
		}
	}
	return nil
}

// clones copies changes, and restored puts the copies back where an update was not committed.
func clones(cs []*Change) []Change {
	out := make([]Change, len(cs))
	for i, c := range cs {
		out[i] = *c
	}
	return out
}

func restored(cs []*Change, was []Change, err error) error {
	if err != nil {
		for i, c := range cs {
			*c = was[i]
		}
	}
	return err
}

// each runs f over the changes, Width at a time.
func (r *Reconciler) each(cs []*Change, f func(*Change)) {
	sem := make(chan struct{}, r.cfg.Width)
	var wg sync.WaitGroup
	for _, c := range cs {
		sem <- struct{}{}
		wg.Go(func() { defer func() { <-sem }(); f(c) })
	}
	wg.Wait()
}

// conclude saves how far the changes of a group have come, all together. A pass that is told to stop has still done what
// it did: that is written down. What is done was saved with its proof.
func (r *Reconciler) conclude(ctx context.Context, group []*Change) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := r.settle(ctx, only(group, func(c *Change) bool { return c.Step != StepDone })); err != nil {
		return err
	}
	for _, c := range group {
		if c.Step == StepDone {
			r.cfg.OnDone(*c)
		}
	}
	return nil
}

// settle saves how far changes have come. A meter that was moved in the meantime takes none of the others with it: what it
// has shown is in the vault, and is found again under its new concentrator.
func (r *Reconciler) settle(ctx context.Context, cs []*Change) error {
	err := r.save(ctx, cs)
	switch {
	case !errors.Is(err, ErrMoved):
		return err
	case len(cs) == 1:
		return nil
	}
	err = nil
	for _, c := range cs {
		err = errors.Join(err, r.settle(ctx, []*Change{c}))
	}
	return err
}

// postpone notes why a change could not go on and when to try again.
func (r *Reconciler) postpone(ctx context.Context, c *Change, cause error) error {
	r.later(c, cause)
	saveCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return r.save(saveCtx, []*Change{c})
}

// later sets the time of the next try: twice as long each time, within the bounds. Versions given up count too: a meter
// that keeps its key must not burn a version every few seconds.
func (r *Reconciler) later(c *Change, cause error) {
	wait := r.cfg.RetryMin << min(c.Attempts+c.Tried, 20)
	c.Attempts++
	c.DueAt = r.cfg.Now().Add(min(max(wait, r.cfg.RetryMin), r.cfg.RetryMax))
	c.LastError = cause.Error()
}

func (r *Reconciler) save(ctx context.Context, cs []*Change) error {
	if len(cs) == 0 {
		return nil
	}
	if err := r.cfg.Store.Save(ctx, clones(cs)); err != nil {
		return fmt.Errorf("save key changes: %w", err)
	}
	return nil
}

func meterRoles(cs []*Change) []MeterRole {
	out := make([]MeterRole, len(cs))
	for i, c := range cs {
		out[i] = MeterRole{c.Meter, c.Role}
	}
	return out
}

func refs(cs []*Change) []role.KeyRef {
	out := make([]role.KeyRef, len(cs))
	for i, c := range cs {
		out[i] = c.to()
	}
	return out
}

func lanRefs(cs []*Change) []role.KeyRef {
	return slices.DeleteFunc(refs(cs), func(k role.KeyRef) bool { return k.Role != role.CCLAN })
}
