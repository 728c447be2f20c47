package central

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// reasonMoved is why CC_LAN of a moved meter changes: another concentrator holds the version in force.
const reasonMoved = "held by another concentrator"

// Assign implements api.Backend. A meter that comes from another concentrator is moved: its open changes follow it, and
// its CC_LAN is changed.
func (is *IS) Assign(ctx context.Context, a api.Assignment) error {
	known, err := is.fleet.MetersByTitle(ctx, a.Meters)
	if err != nil {
		return err
	}
	if err := is.stillHere(ctx, a.Meters...); err != nil {
		return err
	}
	n := 0
	for _, m := range known {
		if !m.Concentrator.IsZero() && m.Concentrator != a.Concentrator {
			n++
		}
	}
	if err := is.gate.Spend(ctx, access.BulkKeys, n); err != nil {
		return err
	}
	var moved []dlms.SystemTitle
	err = is.store.Update(ctx, func(ctx context.Context) (err error) {
		moved, err = is.move(ctx, a.Concentrator, a.Meters)
		return err
	})
	if err == nil && len(moved) > 0 {
		is.follow(ctx, a.Concentrator)
	}
	return err
}

// move puts meters under a concentrator, with all that must not come apart from it, in the caller's Update. A version of
// CC_LAN that is on its way to the one before is given up: that one may hold it.
func (is *IS) move(ctx context.Context, to dlms.SystemTitle, meters []dlms.SystemTitle) (moved []dlms.SystemTitle, err error) {
	if moved, err = is.fleet.Move(ctx, who(ctx), to, meters); err != nil || len(moved) == 0 {
		return nil, err
	}
	abandon, err := is.store.Changes().Move(ctx, to, moved)
	for len(abandon) > 0 && err == nil { // a batch names a key once
		var batch, rest []role.KeyRef
		for _, k := range abandon {
			if n := len(batch); n > 0 && batch[n-1].Meter == k.Meter {
				rest = append(rest, k)
				continue
			}
			batch = append(batch, k)
		}
		err = is.vault.MarkAbandoned(ctx, who(ctx), batch, "its meter was moved to another concentrator")
		abandon = rest
	}
	return moved, err
}

// follow does at once what a beat would do soon: the changes are asked for, and the new concentrator gets its keys.
func (is *IS) follow(ctx context.Context, to dlms.SystemTitle) {
	is.greet(to)
	if err := is.settleMoves(ctx); err != nil {
		is.deps.Log.Warn("moved meters are looked at again soon", "error", err)
	}
}

// Evict implements api.Backend. The one commit takes the concentrator's rights and its meters; what follows from it is
// in the rows, and is done again until it is true, whatever fails.
func (is *IS) Evict(ctx context.Context, e api.Eviction) (a api.Evicted, err error) {
	if err := is.evictable(ctx, e); err != nil {
		return a, err
	}
	mine, err := is.store.Served(ctx, e.Concentrator)
	if err != nil {
		return a, err
	}
	if err := is.gate.Spend(ctx, access.BulkKeys, len(mine)); err != nil {
		return a, err
	}
	a = api.Evicted{Concentrator: e.Concentrator, Successor: e.Successor}
	err = is.store.Update(ctx, func(ctx context.Context) error {
		if err := is.fleet.Revoke(ctx, who(ctx), e.Concentrator, e.Why); err != nil {
			return err
		}
		meters, err := is.store.Served(ctx, e.Concentrator)
		if err != nil || len(meters) == 0 {
			return err
		}
		moved, err := is.move(ctx, e.Successor, meters)
		a.Meters = len(moved)
		return err
	})
	if err != nil {
		return a, fmt.Errorf("evict %s: %w", e.Concentrator, err)
	}
	if err := is.cutRevoked(ctx); err != nil { // it has no right to anything any more; its connection is tried again
		is.deps.Log.Error("an evicted concentrator may still be on the bus", "concentrator", e.Concentrator.String(), "error", err)
	}
	is.follow(ctx, e.Successor)
	return a, nil
}

// evictable refuses what would leave meters without a concentrator.
func (is *IS) evictable(ctx context.Context, e api.Eviction) error {
	if e.Why == "" {
		return errors.New("evict: want a reason, for the record")
	}
	if e.Concentrator == e.Successor {
		return errors.New("evict: want another concentrator as successor")
	}
	d, err := is.fleet.Device(ctx, e.Concentrator)
	if err != nil {
		return err
	}
	s, err := is.fleet.Device(ctx, e.Successor)
	if err != nil {
		return err
	}
	if d.Kind != string(enrol.Concentrator) || s.Kind != string(enrol.Concentrator) || s.State != fleet.DeviceEnrolled {
		return fmt.Errorf("evict: want two concentrators and the successor enrolled, got a %s and a %s, %s", d.Kind, s.Kind, s.State)
	}
	return nil
}

// cutRevoked keeps what was revoked off the bus. It is done again and again, for another node may have evicted it.
func (is *IS) cutRevoked(ctx context.Context) error {
	revoked, err := is.store.Revoked(ctx)
	for _, d := range revoked {
		is.revoked.Store(d, true)
		if is.server != nil {
			err = errors.Join(err, is.server.RemoveUser(d))
		}
	}
	return err
}

// errRevoked is what a revoked concentrator is told.
var errRevoked = errors.New("this concentrator was revoked")

// heard refuses what a revoked concentrator tells.
func (is *IS) heard(from dlms.SystemTitle) error {
	if _, revoked := is.revoked.Load(from); revoked {
		return fmt.Errorf("%s: %w", from, errRevoked)
	}
	return nil
}

// movesBatch is how many moved meters are looked at in one go.
const movesBatch = 500

// settleMoves asks for a new CC_LAN of each moved meter whose version in force was handed out elsewhere, and forgets the
// moves of the others. A change that was sent when its meter moved goes on, and is followed by another one here.
func (is *IS) settleMoves(ctx context.Context) error {
	if err := is.cutRevoked(ctx); err != nil {
		return err
	}
	untold, err := is.store.Untold(ctx)
	if err != nil {
		return err
	}
	for _, d := range untold {
		is.greet(d)
	}
	moved, err := is.store.Moved(ctx, movesBatch)
	if err != nil {
		return err
	}
	var changes []rotation.Change
	var settled []dlms.SystemTitle
	for _, m := range moved { // newest exposure first: changes are taken up in the order in which they were asked for
		if m.Since.IsZero() {
			settled = append(settled, m.Meter)
			continue
		}
		changes = append(changes, rotation.Change{Meter: m.Meter, Concentrator: m.Concentrator, Role: role.CCLAN, Reason: reasonMoved})
	}
	if len(changes) > 0 {
		if _, err := is.reconciler.Ask(ctx, changes); err != nil {
			return err
		}
	}
	if len(settled) > 0 {
		return is.store.DropMoves(ctx, settled)
	}
	return nil
}

// forget lists what a concentrator has to forget: what is noted, and what it said that it holds, if that is not its own.
func (is *IS) forget(ctx context.Context, d dlms.SystemTitle, mine, said []dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	noted, err := is.store.ToForget(ctx, d)
	for _, m := range said {
		if !slices.Contains(noted, m) {
			noted = append(noted, m)
		}
	}
	return slices.DeleteFunc(noted, func(m dlms.SystemTitle) bool { return slices.Contains(mine, m) }), err
}
