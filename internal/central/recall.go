package central

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// actionUnknownVersion: a concentrator holds a version that the vault does not know. The key journal was lost or cut.
const actionUnknownVersion audit.Action = "device.alarm.unknown-version"

// reasonCounters is why a key changes whose handed-out counters nobody knows.
const reasonCounters = "counters lost with the key journal"

// escrow has each meter's concentrator keep the versions that are about to leave for it, before they do: what left can
// then always come back, also to a vault without its key journal. A concentrator that does not say that it keeps them
// does not carry them either.
func (is *IS) escrow(ctx context.Context, refs []role.KeyRef) error {
	groups := map[dlms.SystemTitle][]role.KeyRef{}
	var order []dlms.SystemTitle
	titles := make([]dlms.SystemTitle, len(refs))
	for i, ref := range refs {
		titles[i] = ref.Meter
	}
	known, err := is.fleet.MetersByTitle(ctx, titles)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		m := known[ref.Meter]
		if m.Concentrator.IsZero() {
			continue
		}
		if groups[m.Concentrator] == nil {
			order = append(order, m.Concentrator)
		}
		groups[m.Concentrator] = append(groups[m.Concentrator], ref)
	}
	for _, d := range order {
		for part := range slices.Chunk(groups[d], bus.MaxEscrow) {
			if err := is.escrowTwice(ctx, d, part); err != nil {
				return fmt.Errorf("escrow: %w", err)
			}
		}
	}
	return nil
}

// besides is how many concentrators are tried for a second copy.
const besides = 4

// escrowTwice has a concentrator keep versions, and a second one beside it, the next one by title that does: what the first
// one loses, hides, or takes away with it when it is stolen is there still. Nothing in the rows opens at either of them.
// Where none of those beside it is on the WAN, as in a fleet of one, there is one keeper: that holds no key change up.
func (is *IS) escrowTwice(ctx context.Context, d dlms.SystemTitle, refs []role.KeyRef) error {
	next, err := is.store.NextConcentrators(ctx, d, besides)
	if err != nil {
		return err
	}
	if is.reach != nil {
		next = slices.DeleteFunc(next, is.reach.Away)
	}
	// Both keepers, as a rule, with one reading of the rows and one entry in the log for each, in one commit.
	p, err := is.escrowFor(ctx, append([]dlms.SystemTitle{d}, next[:min(1, len(next))]...), refs)
	if err != nil {
		return err
	}
	if err := is.keepAt(ctx, d, p); err != nil {
		return err
	}
	var errs []error
	for i, n := range next {
		if i > 0 {
			if p, err = is.escrowFor(ctx, []dlms.SystemTitle{n}, refs); err != nil {
				return err
			}
		}
		err := is.keepAt(ctx, n, p)
		if err == nil {
			return nil
		}
		if f := new(bus.Fault); !errors.As(err, &f) || f.Code != bus.FaultUnreachable {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("no second concentrator keeps them: %w", errors.Join(errs...))
	}
	return nil
}

// escrowFor makes what these concentrators are to keep, on the record before they have it.
func (is *IS) escrowFor(ctx context.Context, keepers []dlms.SystemTitle, refs []role.KeyRef) (*bus.Provision, error) {
	rows, err := is.vault.Escrow(ctx, actorIS, keepers, refs)
	if err != nil {
		return nil, err
	}
	p := &bus.Provision{Keys: []bus.ProvisionKey{}, Escrow: make([]bus.Escrowed, len(rows))}
	for i, r := range rows {
		p.Escrow[i] = bus.Escrowed{Meter: r.Ref.Meter, Role: r.Ref.Role, Version: r.Ref.Version, Row: r.Row}
	}
	return p, nil
}

// keepAt has a concentrator keep rows, and say so.
func (is *IS) keepAt(ctx context.Context, d dlms.SystemTitle, p *bus.Provision) error {
	reply, err := is.order(ctx, d, bus.Order{Provision: p})
	if err != nil {
		return err
	}
	if reply.Provision == nil || reply.Provision.Escrowed != len(p.Escrow) {
		return fmt.Errorf("concentrator %s does not say that it keeps %d rows", d, len(p.Escrow))
	}
	return nil
}

// escrowAll has a concentrator keep the versions of all keys of its meters that are in force, or on their way: it may have
// come to them by a move, or lost what it kept. What it has already it passes over.
func (is *IS) escrowAll(ctx context.Context, d dlms.SystemTitle, meters []dlms.SystemTitle) error {
	var ts []vault.Target
	for _, m := range meters {
		for _, r := range role.Associations() {
			ts = append(ts, vault.Target{Meter: m, Role: r})
		}
	}
	lists, err := is.vault.Candidates(ctx, ts)
	if err != nil {
		return err
	}
	var refs []role.KeyRef
	for _, infos := range lists {
		for _, in := range infos {
			if in.State == vault.Active || in.State == vault.Sent {
				refs = append(refs, in.Ref)
			}
		}
	}
	for part := range slices.Chunk(refs, bus.MaxEscrow) {
		p, err := is.escrowFor(ctx, []dlms.SystemTitle{d}, part)
		if err == nil {
			err = is.keepAt(ctx, d, p)
		}
		if err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
	}
	return nil
}

// newerThanKnown alarms when a concentrator holds versions that the vault does not know, and has them recalled.
func (is *IS) newerThanKnown(ctx context.Context, from dlms.SystemTitle, held []bus.HeldKey) error {
	refs := make([]role.KeyRef, len(held))
	for i, h := range held {
		refs[i] = role.KeyRef{Meter: h.Meter, Role: role.CCLAN, Version: h.Version}
	}
	unknown, err := is.vault.Unknown(ctx, refs)
	if err != nil || len(unknown) == 0 {
		return err
	}
	is.alarm(ctx, from, actionUnknownVersion, fmt.Errorf("it holds %d versions that the vault does not know, the first %s: the key journal was lost or cut", len(unknown), unknown[0]))
	is.recalls.Store(from, time.Time{})
	return nil
}

// Pace of recalls.
const (
	recallRetry = time.Minute
	recallWidth = 16
	recallParts = 1000 // of one concentrator, at most
)

// recallDue takes back what the concentrators keep for the vault: of all of them after the vault was opened without its
// journal, else of those that hold what it does not know. One that does not answer is asked again.
func (is *IS) recallDue(ctx context.Context) error {
	due, err := is.recallList(ctx)
	if err != nil || len(due) == 0 {
		return err
	}
	errs := make([]error, len(due))
	sem := make(chan struct{}, is.width(recallWidth))
	var wg sync.WaitGroup
	for i, d := range due {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			if errs[i] = is.recall(ctx, d); errs[i] != nil {
				is.recalls.Store(d, is.deps.Now())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// recallList lists the concentrators to be asked now.
func (is *IS) recallList(ctx context.Context) (due []dlms.SystemTitle, err error) {
	if err := is.recallEverybody(ctx); err != nil {
		return nil, err
	}
	if empty(&is.recalls) {
		return nil, nil
	}
	devices, err := is.fleet.Devices(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.State != fleet.DeviceEnrolled { // it gives nothing back, and nobody waits for it
			is.recalls.Delete(d.Title)
		}
	}
	now := is.deps.Now()
	is.recalls.Range(func(d, tried any) bool {
		if since := now.Sub(tried.(time.Time)); since < 0 || since >= recallRetry { //nolint:errcheck,forcetypeassert // nothing else is stored
			due = append(due, d.(dlms.SystemTitle)) //nolint:errcheck,forcetypeassert // nothing else is stored
		}
		return true
	})
	slices.SortFunc(due, func(a, b dlms.SystemTitle) int { return slices.Compare(a[:], b[:]) })
	return due, nil
}

func empty(m *sync.Map) bool {
	none := true
	m.Range(func(any, any) bool { none = false; return false })
	return none
}

// recallEverybody notes, once in this process, who was not asked since the vault was opened without its journal.
func (is *IS) recallEverybody(ctx context.Context) error {
	if is.vault.Space() == nil || is.recalledAll.Load() {
		return nil
	}
	devices, err := is.fleet.Of(ctx, string(enrol.Concentrator))
	if err != nil {
		return err
	}
	for _, d := range devices {
		last, err := is.vault.LastRecall(ctx, d.Title)
		if err != nil {
			return err
		}
		if last == nil && d.State == fleet.DeviceEnrolled {
			is.recalls.Store(d.Title, time.Time{})
		}
	}
	is.recalledAll.Store(true)
	return nil
}

// errNotRecalled is why no new version is made of a key whose newest one may be missing.
var errNotRecalled = errors.New("its concentrator has not given back yet what it keeps for the vault, and the newest version may be among that")

// whole refuses meters whose newest version may be missing: a new one would not be the newest. Whose concentrator will never
// answer again comes under another one first.
func (is *IS) whole(ctx context.Context, ks []rotation.MeterRole) error {
	if err := is.recallEverybody(ctx); err != nil {
		return err
	}
	if empty(&is.recalls) {
		return nil
	}
	titles := make([]dlms.SystemTitle, len(ks))
	for i, k := range ks {
		titles[i] = k.Meter
	}
	known, err := is.fleet.MetersByTitle(ctx, titles)
	if err != nil {
		return err
	}
	for t, m := range known {
		if _, waiting := is.recalls.Load(m.Concentrator); waiting {
			return fmt.Errorf("meter %s: concentrator %s: %w", t, m.Concentrator, errNotRecalled)
		}
	}
	return nil
}

// recall takes back all that one concentrator keeps.
func (is *IS) recall(ctx context.Context, d dlms.SystemTitle) error {
	var all vault.Recalled
	from := 0
	for range recallParts {
		reply, err := is.order(ctx, d, bus.Order{Recall: &bus.Recall{From: from}})
		if err != nil {
			return fmt.Errorf("recall: %w", err)
		}
		if reply.Recall == nil {
			return fmt.Errorf("recall: concentrator %s: an answer without a result", d)
		}
		part := reply.Recall
		rows := make([][]byte, len(part.Escrow))
		for i, e := range part.Escrow {
			rows[i] = e.Row
		}
		got, err := is.vault.Recall(ctx, actorIS, d, rows, part.Copies)
		if err != nil {
			return err
		}
		all.Versions, all.Known, all.Copies = all.Versions+got.Versions, all.Known+got.Known, all.Copies+got.Copies
		all.Refused = append(all.Refused, got.Refused...)
		n := len(part.Escrow) + len(part.Copies)
		from += n
		if !part.More || n == 0 {
			break
		}
	}
	if err := is.vault.SetRecalled(ctx, d, all); err != nil {
		return err
	}
	is.recalls.Delete(d)
	is.greeted.LoadOrStore(d, []dlms.SystemTitle(nil)) // what it lacks can be handed out now
	is.deps.Log.Warn("what a concentrator keeps for the vault was taken back", "concentrator", d.String(),
		"versions", all.Versions, "known", all.Known, "copies", all.Copies, "refused", len(all.Refused))
	is.reconciler.Kick()
	return nil
}

// renew asks for new versions of CC_LAN that cannot be handed out any more, because nobody knows the counters of those in
// force.
func (is *IS) renew(ctx context.Context, d dlms.SystemTitle, refs []role.KeyRef) {
	changes := make([]rotation.Change, len(refs))
	for i, ref := range refs {
		changes[i] = rotation.Change{Meter: ref.Meter, Concentrator: d, Role: ref.Role, Reason: reasonCounters}
	}
	if _, err := is.reconciler.Ask(ctx, changes); err != nil {
		is.deps.Log.Error("keys whose counters are lost could not be asked to be changed", "concentrator", d.String(), "error", err)
	}
}

// Missing implements api.Backend.
func (is *IS) Missing(ctx context.Context) (out api.Missing, err error) {
	space := is.vault.Space()
	if space != nil {
		out.OpenedAt = space.OpenedAt
	}
	devices, err := is.fleet.Of(ctx, string(enrol.Concentrator))
	if err != nil {
		return out, err
	}
	asked := map[dlms.SystemTitle]bool{}
	for _, d := range devices {
		last, err := is.vault.LastRecall(ctx, d.Title)
		if err != nil {
			return out, err
		}
		if d.State != fleet.DeviceEnrolled {
			continue
		}
		if _, waiting := is.recalls.Load(d.Title); waiting || space != nil && last == nil {
			out.NotAsked = append(out.NotAsked, d.Title)
			continue
		}
		if asked[d.Title] = last != nil; last != nil {
			out.Refused = append(out.Refused, last.Refused...)
		}
	}
	if space == nil && len(out.NotAsked) == 0 {
		return out, nil
	}
	lost, err := is.store.InForceWithLostCounters(ctx)
	if err != nil {
		return out, err
	}
	for _, k := range lost {
		out.Keys = append(out.Keys, api.MissingKey{KeyRef: k.Ref, Concentrator: k.Concentrator, Asked: asked[k.Concentrator]})
	}
	return out, nil
}
