package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// verdict is what the meter itself has shown about one version.
type verdict int

const (
	unknown verdict = iota // nothing was proven: try again later
	inForce
	notInForce
)

// prove seeks the proofs of law 5 (step 5): n+1 in force, or n still in force, or neither.
func (r *Reconciler) prove(ctx context.Context, cs []*Change) {
	var proven, open []*Change
	for i, p := range r.holds(ctx, cs, (*Change).to, true) {
		switch c := cs[i]; p.verdict {
		case inForce:
			proven = append(proven, c)
		case notInForce:
			open = append(open, c)
		default:
			if errors.Is(p.err, errUnlogged) && c.Attempts >= unloggedTries {
				r.anew(ctx, c, fmt.Errorf("%w, and has not had it for %d tries: a new version is to leave another one", p.err, c.Attempts))
				continue
			}
			r.entry(ctx, c, p.err)
			r.later(c, p.err)
		}
	}
	r.finish(ctx, proven)
	for i, p := range r.holds(ctx, open, func(c *Change) role.KeyRef { return c.ref(c.From) }, false) {
		switch c := open[i]; p.verdict {
		case inForce:
			r.again(ctx, c)
		case notInForce:
			c.Step = StepSearching
			r.later(c, fmt.Errorf("neither v%d nor v%d is in force: searching", c.To, c.From))
		default:
			r.later(c, p.err)
		}
	}
}

// proof is a verdict and what there is to say about it.
type proof struct {
	verdict verdict
	err     error
}

// holds asks meters whether a version is in force. CC_LOCALE, which nobody remote can try, is proven by the check value
// read in an authenticated association, and for a fresh version by the event of the change in the main log (an old one may
// have left the log); the others by opening an association under them.
func (r *Reconciler) holds(ctx context.Context, cs []*Change, version func(*Change) role.KeyRef, fresh bool) []proof {
	out := make([]proof, len(cs))
	var keys []role.KeyRef
	var tried, read []int
	for i, c := range cs {
		k := version(c)
		if k.Role == role.CCLOCALE {
			read = append(read, i)
			continue
		}
		keys, tried = append(keys, k), append(tried, i)
	}
	if len(keys) > 0 {
		for n, err := range r.cfg.Hand.Opens(ctx, keys) {
			out[tried[n]] = opened(err)
		}
	}
	r.each(pick(cs, read), func(c *Change) {
		p := &out[slices.Index(cs, c)]
		p.verdict, p.err = r.shown(ctx, version(c), fresh)
	})
	return out
}

func pick(cs []*Change, indexes []int) []*Change {
	out := make([]*Change, len(indexes))
	for n, i := range indexes {
		out[n] = cs[i]
	}
	return out
}

func opened(err error) proof {
	switch {
	case err == nil:
		return proof{inForce, nil}
	case errors.Is(err, ErrRefused):
		return proof{notInForce, err}
	default:
		return proof{unknown, err}
	}
}

func (r *Reconciler) shown(ctx context.Context, k role.KeyRef, fresh bool) (verdict, error) {
	want, err := r.cfg.Vault.CheckValue(ctx, k)
	if err != nil {
		return unknown, err
	}
	got, logged, err := r.cfg.Hand.Shows(ctx, MeterRole{k.Meter, k.Role})
	switch {
	case err != nil:
		return unknown, err
	case got == want && fresh && !logged:
		return unknown, fmt.Errorf("%s: %w", k, errUnlogged)
	case got == want:
		return inForce, nil
	default:
		return notInForce, fmt.Errorf("the meter shows check value %s for %s", got, k)
	}
}

// errUnlogged is for a key that the meter shows and whose event is not in its main log. A log has an end: what was written
// since may have pushed the event out, and a concentrator can have things written.
var errUnlogged = errors.New("the meter shows the key, but its main log has no event of the change")

// unloggedTries is how often an event is looked for. A key without one is never proven, and would be on its way for ever.
const unloggedTries = 5

// finish notes proofs in the vault, and with them in the rows, and tells the concentrator.
func (r *Reconciler) finish(ctx context.Context, cs []*Change) {
	if len(cs) == 0 {
		return
	}
	was := clones(cs)
	err := r.cfg.Store.Update(ctx, func(ctx context.Context) error {
		if err := r.cfg.Vault.MarkActive(ctx, refs(cs)); err != nil {
			return fmt.Errorf("mark active: %w", err)
		}
		now := r.cfg.Now()
		for _, c := range cs {
			c.Step, c.LastError, c.DoneAt, c.Attempts = StepDone, "", now, 0
		}
		return r.save(ctx, cs)
	})
	switch {
	case restored(cs, was, err) == nil:
		r.tell(ctx, cs, (*Change).to)
	case len(cs) == 1 && errors.Is(err, ErrMoved): // its row is another's to write; what it has shown stays true
		if err := r.cfg.Vault.MarkActive(ctx, refs(cs)); err != nil {
			r.later(cs[0], fmt.Errorf("mark active: %w", err))
			return
		}
		r.tell(ctx, cs, (*Change).to)
	case len(cs) == 1 || ctx.Err() != nil:
		for _, c := range cs {
			r.later(c, err)
		}
	default:
		for _, c := range cs {
			r.finish(ctx, []*Change{c})
		}
	}
}

// tell lets the concentrator know which versions are in force. It may have forgotten an old one that came back by a late
// transfer, and then gets it anew; else it would find it by trying.
func (r *Reconciler) tell(ctx context.Context, cs []*Change, version func(*Change) role.KeyRef) {
	var lan []role.KeyRef
	for _, c := range cs {
		if k := version(c); k.Role == role.CCLAN {
			lan = append(lan, k)
		}
	}
	if len(lan) == 0 {
		return
	}
	if err := r.cfg.Provisioner.Provision(ctx, cs[0].Concentrator, lan); err != nil {
		r.cfg.Log.Warn("the concentrator was not told of the proof; it will be at its next contact", "key_refs", len(lan), "first", lan[0].String(), "error", err)
	}
}

// again gives n+1 up, because n was proven in force, and asks for a further version: n+1 may have been tried on a
// meter that zeroed its counters for it, so it is never sent a second time.
func (r *Reconciler) again(ctx context.Context, c *Change) {
	r.anew(ctx, c, fmt.Errorf("v%d was not taken, v%d is still in force", c.To, c.From))
}

// anew gives the version on its way up, if there is one, and asks for another.
func (r *Reconciler) anew(ctx context.Context, c *Change, why error) {
	if c.To != 0 {
		if err := r.giveUp(ctx, c.to()); err != nil {
			r.later(c, err)
			return
		}
	}
	c.Tried++
	r.later(c, why)
	c.Step, c.To = StepWanted, 0
}

// search tries the versions that may be in force, newest first (step 6), from where it was left. What it finds becomes the
// version the change starts from, and a fresh one follows. Where none is in force, a key that the central system does not
// need to enter the meter is replaced through the one that it enters with.
func (r *Reconciler) search(ctx context.Context, c *Change) {
	if r.cfg.Without.Off(defence.Search) {
		r.later(c, errors.New("not searched"))
		return
	}
	candidates, enters, err := r.candidates(ctx, c)
	if err != nil {
		r.later(c, err)
		return
	}
	for _, k := range candidates {
		if c.Searched != 0 && k.Version >= c.Searched {
			continue
		}
		p := r.holds(ctx, []*Change{c}, func(*Change) role.KeyRef { return k }, false)[0]
		switch p.verdict {
		case inForce:
			r.found(ctx, c, k)
			return
		case unknown:
			r.entry(ctx, c, p.err)
			r.later(c, p.err)
			return
		}
		c.Searched = k.Version
	}
	c.Searched = 0
	if enters {
		r.later(c, fmt.Errorf("searched %d versions, none is in force", len(candidates)))
		return
	}
	r.replace(ctx, c)
}

// candidates lists what a search tries. Of the key that the central system enters the meter with (CC_IS; in profile linky
// CC_LAN) that is every version that was ever sent: without it the meter is out of reach. Any other key is replaced through
// that one sooner than all its versions are tried: those are the newest on its way and the one in force.
func (r *Reconciler) candidates(ctx context.Context, c *Change) (list []role.KeyRef, enters bool, err error) {
	entry, err := r.cfg.Hand.Entry(ctx, c.Meter)
	if err != nil {
		return nil, false, err
	}
	if entry == c.Role {
		list, err = r.cfg.Vault.Candidates(ctx, MeterRole{c.Meter, c.Role})
		return list, true, err
	}
	for _, v := range []uint32{max(c.To, c.From), min(c.To, c.From)} {
		if v != 0 && (len(list) == 0 || v != list[0].Version) {
			list = append(list, c.ref(v))
		}
	}
	return list, false, nil
}

// replace asks for a fresh version of a key of which no version that may be in force is.
func (r *Reconciler) replace(ctx context.Context, c *Change) {
	r.anew(ctx, c, fmt.Errorf("neither v%d nor v%d is in force: a new version takes their place", c.To, c.From))
}

// giveUp abandons a version that turned out not to be in force, unless it was proven once: it is superseded then, when
// another one is.
func (r *Reconciler) giveUp(ctx context.Context, k role.KeyRef) error {
	st, err := r.cfg.Vault.Standing(ctx, k)
	if err != nil {
		return fmt.Errorf("how %s stands: %w", k, err)
	}
	if st != StandingPending && st != StandingSent {
		return nil
	}
	if err := r.cfg.Vault.MarkAbandoned(ctx, []role.KeyRef{k}); err != nil {
		return fmt.Errorf("mark abandoned: %w", err)
	}
	return nil
}

func (r *Reconciler) found(ctx context.Context, c *Change, k role.KeyRef) {
	switch {
	case k.Version == c.To:
		r.finish(ctx, []*Change{c})
		return
	case c.To == 0 && k.Version == c.From: // somebody on the line refused in the meter's name
		c.To = k.Version
		r.finish(ctx, []*Change{c})
		return
	case c.To != 0:
		if err := r.giveUp(ctx, c.to()); err != nil {
			r.later(c, err)
			return
		}
	}
	// What was found in force is what the IS opens associations with until the fresh version is proven.
	if err := r.cfg.Vault.MarkActive(ctx, []role.KeyRef{k}); err != nil {
		r.later(c, fmt.Errorf("mark active: %w", err))
		return
	}
	astray := k.Version != c.From
	c.From, c.To, c.Step, c.Attempts, c.Searched = k.Version, 0, StepWanted, 0, 0
	c.DueAt = r.cfg.Now()
	c.Tried++
	r.tell(ctx, []*Change{c}, func(*Change) role.KeyRef { return k })
	if astray && k.Role == role.CCIS {
		r.astray(ctx, c)
	}
}

// ReasonSearched is why the other keys of a meter change after a search for its CC_IS.
const ReasonSearched = "CC_IS had to be searched for"

// astray asks for fresh versions of the other keys of a meter whose CC_IS was found by a search: nobody can say what else
// it holds that the vault does not have in force.
func (r *Reconciler) astray(ctx context.Context, c *Change) {
	var asks []Change
	for _, other := range []role.Role{role.CCLAN, role.CCLOCALE} {
		asks = append(asks, Change{Meter: c.Meter, Concentrator: c.Concentrator, Role: other, Reason: ReasonSearched})
	}
	if _, err := r.Ask(ctx, asks); err != nil {
		r.cfg.Log.Error("the other keys of a meter that was searched for could not be asked for", "meter", c.Meter.String(), "error", err)
	}
}
