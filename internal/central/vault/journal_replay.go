package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// ErrTwoVersions is returned where the journal has a version that may have reached a meter, and the store another key
// under the same number: the store was brought back from a backup and worked with before this node's journal was there.
var ErrTwoVersions = errors.New("key journal: a version stands for two keys: bring the store back from its backup again, and start every node with its journal before any of them changes a key")

// catchUp takes over what the journal has and the store has not: after a crash between the two, after a commit that
// failed, or after the store was restored from a backup. Every step begins with it, so that the store's position
// never moves past a record that the store does not have.
func (v *Software) catchUp(ctx context.Context) error {
	if v.without.Off(defence.Journal) {
		return nil
	}
	p, ok, err := v.store.JournalPosition(ctx)
	if err != nil {
		return err
	}
	if !ok {
		p = Position{Vault: v.keys.ID()}
	}
	batches, err := v.journal.After(p)
	if err != nil || (len(batches) == 0 && ok) {
		return err
	}
	if err := v.replay(ctx, batches); err != nil {
		return fmt.Errorf("take over the key journal: %w", err)
	}
	if err := v.tellReplayed(ctx, len(batches)); err != nil {
		return err
	}
	return v.store.SetJournalPosition(ctx, v.journal.Position())
}

func (v *Software) tellReplayed(ctx context.Context, batches int) error {
	if batches == 0 {
		return nil
	}
	v.log.Warn("the key journal was ahead of the store and has been taken over", "batches", batches)
	return v.audit.Append(ctx, audit.Entry{
		Actor: "system:vault", Action: ActionReplayed, Phase: audit.Done,
		Detail: map[string]string{"batches": fmt.Sprint(batches)},
	})
}

// replaying is what batches of a journal come to, less what the store has already.
type replaying struct {
	change
	facts  []json.RawMessage
	spaces []Space

	kinds  map[dlms.SystemTitle]string
	rows   map[role.KeyRef]KeyRow // that the store has
	chosen map[role.KeyRef]KeyRow // that the store gets
	// left are the versions that may have reached a meter, by the key that each of them was.
	left map[role.KeyRef]map[Fingerprint]bool
}

// replay applies batches, but for what is there already. A fact of the fleet that goes on from what is in another node's
// journal alone waits for that one.
func (v *Software) replay(ctx context.Context, batches [][]record) error {
	r := &replaying{chosen: map[role.KeyRef]KeyRow{}, left: map[role.KeyRef]map[Fingerprint]bool{}}
	for _, batch := range batches {
		for _, rec := range batch {
			if err := r.add(rec); err != nil {
				return err
			}
		}
	}
	if err := r.look(ctx, v.store); err != nil {
		return err
	}
	r.pruneNew()
	if err := r.pruneKeys(); err != nil {
		return err
	}
	if err := r.pruneStates(); err != nil {
		return err
	}
	if err := v.apply(ctx, &r.change); err != nil {
		return err
	}
	if err := v.replayFacts(ctx, r.facts); err != nil {
		return err
	}
	// Whoever has counters of its own under a version was given it.
	if err := v.store.RestoreHandouts(ctx, r.counters, v.time()); err != nil {
		return err
	}
	for _, s := range r.spaces {
		if err := v.replaySpace(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// ErrFact is what a store returns for a fact of the fleet that goes on from what it does not have.
var ErrFact = errors.New("a fact of the fleet in the key journal does not fit the store")

// stateFacts is where facts wait for those that they go on from.
const stateFacts = "facts-ahead"

// replayFacts applies facts of the fleet, those that were waiting first. One that goes on from what another node's journal
// has waits for it.
func (v *Software) replayFacts(ctx context.Context, facts []json.RawMessage) error {
	waiting, err := readState[[]json.RawMessage](ctx, v.store, stateFacts)
	if err != nil {
		return err
	}
	if waiting != nil {
		facts = append(*waiting, facts...)
	}
	var ahead []json.RawMessage
	for _, f := range facts {
		switch err := v.store.ReplayFact(ctx, f); {
		case errors.Is(err, ErrFact):
			ahead = append(ahead, f)
		case err != nil:
			return err
		}
	}
	if len(ahead) == 0 && waiting == nil {
		return nil
	}
	if len(ahead) == 0 {
		return v.store.SetVaultState(ctx, stateFacts, nil)
	}
	return writeState(ctx, v.store, stateFacts, ahead)
}

func (r *replaying) add(rec record) error {
	switch {
	case rec.Meter != nil:
		r.meters = append(r.meters, *rec.Meter)
	case rec.Device != nil:
		r.devices = append(r.devices, *rec.Device)
	case rec.Export != nil:
		r.exports = append(r.exports, *rec.Export)
	case rec.Maker != nil:
		r.makers = append(r.makers, *rec.Maker)
	case rec.Key != nil:
		r.addKey(*rec.Key)
	case rec.State != nil:
		r.states = append(r.states, *rec.State)
	case rec.Counter != nil:
		r.counters = append(r.counters, *rec.Counter)
	case rec.Fact != nil:
		r.facts = append(r.facts, rec.Fact)
	case rec.Space != nil:
		r.spaces = append(r.spaces, *rec.Space)
	default:
		return fmt.Errorf("%w: a record of an unknown kind; it was written by a newer program", ErrJournal)
	}
	return nil
}

// addKey takes a row. One that a journal states once more, because another node had made it, says how it stood then.
func (r *replaying) addKey(k KeyRow) {
	r.keys = append(r.keys, k)
	if k.State != Pending {
		r.states = append(r.states, StateChange{Ref: k.Ref, State: k.State, At: latest(k), Of: k.Fingerprint})
	}
}

// look reads what the store has of all this.
func (r *replaying) look(ctx context.Context, s Store) (err error) {
	var titles []dlms.SystemTitle
	for _, m := range r.meters {
		titles = append(titles, m.Title)
	}
	for _, d := range r.devices {
		titles = append(titles, d.Title)
	}
	refs := map[role.KeyRef]bool{}
	for _, k := range r.keys {
		titles = append(titles, k.Ref.Meter)
		refs[k.Ref] = true
	}
	for _, st := range r.states {
		refs[st.Ref] = true
	}
	if r.kinds, err = s.TitleKinds(ctx, titles); err != nil {
		return err
	}
	var list []role.KeyRef
	for ref := range refs {
		list = append(list, ref)
	}
	r.rows, err = s.KeyRows(ctx, list)
	return err
}

// pruneNew leaves out the meters and devices that are there.
func (r *replaying) pruneNew() {
	r.meters = slices.DeleteFunc(r.meters, func(m MeterRow) bool {
		known := r.kinds[m.Title] == kindMeter
		r.kinds[m.Title] = kindMeter
		return known
	})
	r.devices = slices.DeleteFunc(r.devices, func(d DeviceRow) bool { return r.kinds[d.Title] == d.Kind })
}

// sent notes which versions the journals themselves say may have reached a meter: they were marked sent, or more. A version
// is marked before it is carried to one. A mark from before marks named the key is of the newest key of that number.
func (r *replaying) sent() {
	newest := map[role.KeyRef]Fingerprint{}
	for _, k := range r.keys {
		newest[k.Ref] = k.Fingerprint
	}
	for i, st := range r.states {
		of := st.Of
		if of == (Fingerprint{}) {
			of = newest[st.Ref]
			r.states[i].Of = of
		}
		if st.State == Pending || of == (Fingerprint{}) {
			continue
		}
		if r.left[st.Ref] == nil {
			r.left[st.Ref] = map[Fingerprint]bool{}
		}
		r.left[st.Ref][of] = true
	}
}

// pruneKeys chooses the versions that the store gets. Two keys under one number are those of two nodes, of which one had
// died before its commit: that one was used for nothing. Unless both left the house.
func (r *replaying) pruneKeys() error {
	r.sent()
	var order []role.KeyRef
	for _, k := range r.keys {
		row, known := r.rows[k.Ref]
		if !known {
			row, known = r.chosen[k.Ref]
		}
		switch {
		case known && row.Fingerprint == k.Fingerprint:
		case known && r.left[k.Ref][k.Fingerprint] && (r.left[k.Ref][row.Fingerprint] || r.chosen[k.Ref].Sealed == nil):
			return fmt.Errorf("%w: %s", ErrTwoVersions, k.Ref)
		case known && !r.left[k.Ref][k.Fingerprint]:
		default:
			if !known {
				order = append(order, k.Ref)
			}
			r.chosen[k.Ref] = k
		}
	}
	r.keys = nil
	for _, ref := range order {
		r.keys = append(r.keys, r.chosen[ref])
	}
	return nil
}

// pruneStates leaves out the states of versions that were used for nothing, and what another node has overtaken. A journal
// brings every version that it speaks of, whoever made it (see whole).
func (r *replaying) pruneStates() error {
	states := r.states
	r.states = nil
	for _, s := range states {
		row, known := r.rows[s.Ref]
		k, got := r.chosen[s.Ref]
		if known {
			k, got = row, true
		}
		switch {
		case !got:
			return fmt.Errorf("%w: it says that %s is %s, and brings no such version", ErrJournal, s.Ref, s.State)
		case s.Of != (Fingerprint{}) && s.Of != k.Fingerprint:
		case k.State == s.State && !s.At.After(latest(k)): // the row says so itself
		case known && overtaken(row, s):
		default:
			r.states = append(r.states, s)
		}
	}
	return nil
}

// overtaken reports whether a row has gone further than a state in the journal, since then: by another node, which took
// the work over from one that died between its journal and its commit.
func overtaken(row KeyRow, s StateChange) bool {
	return rank(row.State) > rank(s.State) && !s.At.After(latest(row))
}

func rank(s State) int { return slices.Index([]State{Pending, Sent, Active, Superseded, Abandoned}, s) }

func latest(k KeyRow) time.Time {
	return slices.MaxFunc([]time.Time{k.CreatedAt, k.SentAt, k.ActiveAt, k.EndedAt}, time.Time.Compare)
}
