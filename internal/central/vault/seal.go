package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// handoutSpan is how many counters go with a key that is sealed to a device. A meter refuses a jump of more than
// 2^24, so a device that has lost its counter may have the key sealed anew 15 times between two associations.
const handoutSpan = 1 << 20

// lostSpan is passed over where hand-outs were lost with a key journal: eight of them, and less than half of the jump that
// a meter takes.
const lostSpan = 8 * handoutSpan

// ErrCountersLost is returned for a version of which somebody may hold counters that the vault has forgotten, with a key
// journal that is lost, and that nobody can tell. It takes a new version.
var ErrCountersLost = errors.New("vault: the counters handed out with this version were lost with the key journal; change the key")

// ErrGrant is returned for a grant that is not live.
var ErrGrant = errors.New("vault: no live grant")

// SealTo implements Vault.
func (v *Software) SealTo(ctx context.Context, by audit.Actor, device dlms.SystemTitle, keys []role.KeyRef) ([]Sealed, error) {
	out, err := v.sealTo(ctx, by, device, keys, lending{})
	if err != nil {
		return nil, fmt.Errorf("vault: seal to %s: %w", device, err)
	}
	return out, nil
}

// lending is the grant that keys are sealed under, none for a concentrator.
type lending struct {
	grant string
	// last is the last day of keys that are derived instead of given away.
	last dlms.Day
}

func (v *Software) sealTo(ctx context.Context, by audit.Actor, device dlms.SystemTitle, keys []role.KeyRef, l lending) ([]Sealed, error) {
	d, err := v.device(ctx, device)
	if err != nil {
		return nil, err
	}
	if err := v.keys.CheckDevice(d); err != nil {
		return nil, err
	}
	what := deed{by: by, action: ActionSealed, device: device, grant: l.grant, why: "to a " + d.Kind}
	ranges := make([]Handout, len(keys))
	op, items, err := v.intend(ctx, what, keys, func(ctx context.Context, items []item, c *change) error {
		if err := v.entitle(ctx, d, items); err != nil {
			return err
		}
		if err := v.lend(ctx, d, l, items, ranges); err != nil {
			return err
		}
		return v.reserve(ctx, d, l.grant, items, ranges, c)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Sealed, len(items))
	for i := range items {
		it := &items[i]
		out[i] = Sealed{Ref: it.ref, State: it.row.State}
		if it.err == nil {
			out[i].Key, it.err = v.seal(d, ranges[i], it.row)
		}
		out[i].Err = it.err
	}
	return out, v.results(ctx, what, op, items)
}

func (v *Software) seal(d DeviceRow, h Handout, row KeyRow) (enrol.SealedKey, error) {
	if h.LastDay.IsZero() {
		return v.keys.SealRow(d, h.sealed(), row)
	}
	return v.keys.SealDerived(d, h.sealed(), row)
}

// lend says which keys are derived for a terminal instead of given away: those of meters that derive them too. Without a
// grant, and so without a last day, there is nothing to give.
func (v *Software) lend(ctx context.Context, d DeviceRow, l lending, items []item, ranges []Handout) error {
	if d.Kind != kindTerminal {
		return nil
	}
	titles := make([]dlms.SystemTitle, len(items))
	for i, it := range items {
		titles[i] = it.ref.Meter
	}
	rows, err := v.store.MeterRows(ctx, titles)
	if err != nil {
		return err
	}
	for i := range items {
		switch it := &items[i]; {
		case rows[it.ref.Meter].Profile != profileHardened:
		case l.last.IsZero() && it.err == nil:
			it.err = fmt.Errorf("%w: %s without a grant that says until which day", ErrNotEntitled, it.ref)
		default:
			ranges[i].LastDay = l.last
		}
	}
	return nil
}

func (h Handout) sealed() enrol.SealedKey {
	return enrol.SealedKey{
		Meter: h.Ref.Meter, Role: h.Ref.Role, Version: h.Ref.Version, Recipient: h.Device, LastDay: h.LastDay,
		FirstCounter: dlms.InvocationCounter(h.FirstCounter), LastCounter: dlms.InvocationCounter(h.LastCounter),
	}
}

func (v *Software) device(ctx context.Context, title dlms.SystemTitle) (DeviceRow, error) {
	d, ok, err := v.store.DeviceRow(ctx, title)
	if err != nil {
		return d, err
	}
	if !ok {
		return d, fmt.Errorf("%w: %s is not enrolled", ErrTitle, title)
	}
	if d.State != deviceEnrolled {
		return d, fmt.Errorf("%w: %s %s is %s", ErrNotEntitled, d.Kind, title, d.State)
	}
	return d, nil
}

// entitle refuses what the device has no right to: a concentrator gets CC_LAN of its own meters, a terminal gets
// CC_LOCALE of meters that it has a live grant for, and nobody gets anything else (laws 1 and 7). Old versions are
// never lent.
func (v *Software) entitle(ctx context.Context, d DeviceRow, items []item) error {
	refs := make([]role.KeyRef, len(items))
	for i, it := range items {
		refs[i] = it.ref
	}
	var entitled map[dlms.SystemTitle]bool
	var may role.Role
	var err error
	switch d.Kind {
	case kindConcentrator:
		may = role.CCLAN
		entitled, err = v.store.AssignedMeters(ctx, d.Title, meters(refs))
	case kindTerminal:
		may = role.CCLOCALE
		entitled, err = v.store.GrantedMeters(ctx, d.Title, v.time(), meters(refs))
	default:
		return fmt.Errorf("%w: %s is a %s", ErrNotEntitled, d.Title, d.Kind)
	}
	if err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		switch {
		case it.err != nil:
		case it.ref.Role == role.CCC || it.ref.Role == role.CCIS:
			it.err = fmt.Errorf("%w: %s is never handed out", ErrRole, it.ref)
		case it.ref.Role != may:
			it.err = fmt.Errorf("%w: %s to a %s", ErrNotEntitled, it.ref, d.Kind)
		case !entitled[it.ref.Meter]:
			it.err = fmt.Errorf("%w: %s is not a meter of %s %s", ErrNotEntitled, it.ref.Meter, d.Kind, d.Title)
		case it.row.State == Superseded || it.row.State == Abandoned:
			it.err = fmt.Errorf("%w: seal %s: it is %s", ErrState, it.ref, it.row.State)
		}
	}
	return nil
}

// reserve gives each holder a range of counters of its own under each key, above every one it was given before.
func (v *Software) reserve(ctx context.Context, d DeviceRow, grant string, items []item, ranges []Handout, c *change) error {
	refs := make([]role.KeyRef, len(items))
	for i, it := range items {
		refs[i] = it.ref
	}
	spent, err := v.store.SendCounters(ctx, d.Title, refs)
	if err != nil {
		return err
	}
	lost, err := v.countersLost(ctx, refs)
	if err != nil {
		return err
	}
	told, err := v.told(ctx, d)
	if err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		if it.err == nil && lost[it.ref] && !told {
			it.err = fmt.Errorf("%w: %s for %s", ErrCountersLost, it.ref, d.Title)
		}
		if it.err != nil {
			continue
		}
		first := uint64(spent[it.ref].Ceiling) + 1
		if lost[it.ref] {
			first = max(first, lostSpan+1)
		}
		last := first + handoutSpan - 1
		if last > uint64(dlms.MaxInvocationCounter) {
			it.err = fmt.Errorf("%w: %s for %s", ErrRange, it.ref, d.Title)
			continue
		}
		ranges[i] = Handout{
			Device: d.Title, Ref: it.ref, FirstCounter: uint32(first), LastCounter: uint32(last), Grant: grant, At: v.time(),
			LastDay: ranges[i].LastDay,
		}
		c.handouts = append(c.handouts, ranges[i])
		c.counters = append(c.counters, CounterRow{Ref: it.ref, Title: d.Title, Ceiling: uint32(last)})
	}
	return nil
}

// told reports whether a device has given back all it keeps since the vault was opened without its journal. A concentrator
// that has knows itself how far it went under each version, also under those that it forgot, and refuses counters that it
// may have spent: the vault's second look begins above all that it can have handed out and does not know. Of a terminal
// nobody knows.
func (v *Software) told(ctx context.Context, d DeviceRow) (bool, error) {
	if v.space == nil || d.Kind != kindConcentrator {
		return false, nil
	}
	last, err := v.LastRecall(ctx, d.Title)
	return last != nil, err
}

// countersLost tells of which versions nobody knows any more which counters were handed out with them.
func (v *Software) countersLost(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]bool, error) {
	if v.space == nil {
		return nil, nil
	}
	return v.store.CountersLost(ctx, refs)
}

// SealGrant implements Vault.
func (v *Software) SealGrant(ctx context.Context, by audit.Actor, grant string) (enrol.Grant, error) {
	g, err := v.sealGrant(ctx, by, grant)
	if err != nil {
		return enrol.Grant{}, fmt.Errorf("vault: seal grant %s: %w", grant, err)
	}
	return g, nil
}

func (v *Software) sealGrant(ctx context.Context, by audit.Actor, grant string) (enrol.Grant, error) {
	g, ok, err := v.store.GrantRow(ctx, grant)
	if err != nil {
		return enrol.Grant{}, err
	}
	if !ok || !g.Live || v.now().After(g.NotAfter) {
		return enrol.Grant{}, ErrGrant
	}
	refs, err := v.localKeys(ctx, g.Meters)
	if err != nil {
		return enrol.Grant{}, err
	}
	sealed, err := v.sealTo(ctx, by, g.Terminal, refs, lending{g.ID, role.LastDayOf(g.NotAfter, v.zone)})
	if err != nil {
		return enrol.Grant{}, err
	}
	out := enrol.Grant{ID: g.ID, Terminal: g.Terminal, NotBefore: g.NotBefore, NotAfter: g.NotAfter}
	for _, s := range sealed {
		if s.Err != nil {
			return enrol.Grant{}, s.Err
		}
		out.Keys = append(out.Keys, s.Key)
	}
	return v.finishGrant(ctx, by, out)
}

// VerifyLog implements Vault. A terminal that was revoked is heard too: what it did is wanted most of all.
func (v *Software) VerifyLog(ctx context.Context, f enrol.LogFile) error {
	d, ok, err := v.store.DeviceRow(ctx, f.Terminal)
	if err != nil {
		return err
	}
	if !ok || d.Kind != kindTerminal {
		return fmt.Errorf("%w: %s is no terminal", ErrTitle, f.Terminal)
	}
	return v.keys.VerifyLog(d, f)
}

func (v *Software) localKeys(ctx context.Context, titles []dlms.SystemTitle) ([]role.KeyRef, error) {
	targets := make([]Target, len(titles))
	for i, t := range titles {
		targets[i] = Target{t, role.CCLOCALE}
	}
	active, err := v.Active(ctx, targets)
	if err != nil {
		return nil, err
	}
	refs := make([]role.KeyRef, len(active))
	for i, k := range active {
		refs[i] = k.Ref
	}
	return refs, nil
}

func (v *Software) finishGrant(ctx context.Context, by audit.Actor, g enrol.Grant) (enrol.Grant, error) {
	d, err := v.device(ctx, g.Terminal)
	if err != nil {
		return enrol.Grant{}, err
	}
	if g, err = v.keys.SealGrant(d, g); err != nil {
		return enrol.Grant{}, err
	}
	return g, v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionGrant, Phase: audit.Done,
		Subject: audit.Subject{Device: g.Terminal, Grant: g.ID},
		Detail:  map[string]string{"meters": fmt.Sprint(len(g.Keys)), "not_after": g.NotAfter.Format("2006-01-02T15:04:05Z")},
	})
}
