package central

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// provision gives a concentrator the versions in the phase they have in the vault, and waits until it holds them. A
// version that was handed out before is not sealed again: only its phase goes, unless the concentrator has lost it.
func (is *IS) provision(ctx context.Context, d dlms.SystemTitle, refs []role.KeyRef) (held []bus.HeldKey, refused []bus.KeyFault, err error) {
	states, err := is.vault.States(ctx, refs)
	if err != nil {
		return nil, nil, err
	}
	p := &bus.Provision{Keys: make([]bus.ProvisionKey, len(refs))}
	done, err := is.store.HandedOut(ctx, d, refs)
	if err != nil {
		return nil, nil, err
	}
	var fresh []role.KeyRef
	for i, ref := range refs {
		p.Keys[i] = bus.ProvisionKey{Meter: ref.Meter, Version: ref.Version, Phase: phaseOf(states[ref])}
		if !done[ref] {
			fresh = append(fresh, ref)
		}
	}
	if err := is.seal(ctx, d, p, fresh); err != nil {
		return nil, nil, err
	}
	held, refused, err = is.sendProvision(ctx, d, p)
	if err != nil || len(refused) == 0 {
		return held, refused, err
	}
	// A refusal of a phase without the key: the first delivery was lost on the way. Seal those once more.
	var again []role.KeyRef
	for _, f := range refused {
		k := role.KeyRef{Meter: f.Meter, Role: role.CCLAN, Version: f.Version}
		if slices.Contains(refs, k) && !slices.Contains(again, k) { // what it names is checked against what was sent
			again = append(again, k)
		}
	}
	if err := is.seal(ctx, d, p, again); err != nil {
		return nil, nil, err
	}
	return is.sendProvision(ctx, d, p)
}

func (is *IS) seal(ctx context.Context, d dlms.SystemTitle, p *bus.Provision, refs []role.KeyRef) error {
	if len(refs) == 0 {
		return nil
	}
	sealed, err := is.vault.SealTo(ctx, actorIS, d, refs)
	if err != nil {
		return err
	}
	by := make(map[role.KeyRef]*vault.Sealed, len(sealed))
	var lost []role.KeyRef
	for i := range sealed {
		if errors.Is(sealed[i].Err, vault.ErrCountersLost) {
			lost = append(lost, sealed[i].Ref)
			continue
		}
		if sealed[i].Err != nil {
			return fmt.Errorf("%s: %w", sealed[i].Ref, sealed[i].Err)
		}
		by[sealed[i].Ref] = &sealed[i]
	}
	if len(lost) > 0 {
		is.renew(ctx, d, lost)
	}
	for i := range p.Keys {
		k := &p.Keys[i]
		if s := by[role.KeyRef{Meter: k.Meter, Role: role.CCLAN, Version: k.Version}]; s != nil {
			k.Sealed = &s.Key
		}
	}
	return nil
}

func (is *IS) sendProvision(ctx context.Context, d dlms.SystemTitle, p *bus.Provision) ([]bus.HeldKey, []bus.KeyFault, error) {
	reply, err := is.order(ctx, d, bus.Order{Provision: p})
	if err != nil {
		return nil, nil, err
	}
	if reply.Provision == nil {
		return nil, nil, fmt.Errorf("concentrator %s: an answer without a result", d)
	}
	return reply.Provision.Held, reply.Provision.Refused, nil
}

func phaseOf(s vault.State) bus.Phase {
	switch s {
	case vault.Pending:
		return bus.PhasePending
	case vault.Active:
		return bus.PhaseActive
	default:
		return bus.PhaseSent
	}
}

// provisionAll is provision for the rotation, which wants all or an error.
func (is *IS) provisionAll(ctx context.Context, d dlms.SystemTitle, refs []role.KeyRef) error {
	held, refused, err := is.provision(ctx, d, refs)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range refs {
		if !slices.ContainsFunc(held, func(h bus.HeldKey) bool { return h.Meter == k.Meter && h.Version == k.Version }) {
			errs = append(errs, fmt.Errorf("concentrator %s does not say that it holds %s", d, k))
		}
	}
	for _, f := range refused {
		errs = append(errs, fmt.Errorf("concentrator %s refuses %s v%d: %s", d, f.Meter, f.Version, f.Text))
	}
	return errors.Join(errs...)
}

// provisioner gives the rotation its all-or-error form.
type provisioner struct{ is *IS }

var _ rotation.Provisioner = provisioner{}

func (p provisioner) Provision(ctx context.Context, d dlms.SystemTitle, refs []role.KeyRef) error {
	return p.is.provisionAll(ctx, d, refs)
}

// Provision implements api.Backend: the versions in force of all the concentrator's meters. Where it has greeted, this is
// its welcome.
func (is *IS) Provision(ctx context.Context, d dlms.SystemTitle) (api.Provisioned, error) {
	foreign, greeted := is.greeting(d)
	p, err := is.settleKeys(ctx, d, foreign)
	if greeted && err != nil && !errors.Is(err, errRevoked) {
		is.greet(d, foreign...)
	}
	return p, err
}

// settleKeys gives a concentrator the versions in force of its own meters, and has it forget those of others. Said are
// meters that it said it holds keys of.
func (is *IS) settleKeys(ctx context.Context, d dlms.SystemTitle, said []dlms.SystemTitle) (api.Provisioned, error) {
	is.provisioning.Lock()
	defer is.provisioning.Unlock()
	if err := is.heard(d); err != nil {
		return api.Provisioned{}, err
	}
	meters, err := is.store.Served(ctx, d)
	if err != nil {
		return api.Provisioned{}, err
	}
	remove, err := is.forget(ctx, d, meters, said)
	if err != nil || len(meters)+len(remove) == 0 {
		return api.Provisioned{}, err
	}
	if err := is.escrowAll(ctx, d, meters); err != nil {
		return api.Provisioned{}, err
	}
	ts := make([]vault.Target, len(meters))
	for i, m := range meters {
		ts[i] = vault.Target{Meter: m, Role: role.CCLAN}
	}
	infos, err := is.vault.Active(ctx, ts)
	if err != nil {
		return api.Provisioned{}, err
	}
	refs := make([]role.KeyRef, len(infos))
	for i, in := range infos {
		refs[i] = in.Ref
	}
	var p api.Provisioned
	for part := range slices.Chunk(refs, provisionBatch) {
		held, refused, err := is.provision(ctx, d, part)
		p.Held, p.Refused = p.Held+len(held), append(p.Refused, refused...)
		if err != nil {
			return p, err
		}
	}
	if len(remove) == 0 {
		return p, nil
	}
	if _, _, err := is.sendProvision(ctx, d, &bus.Provision{Remove: remove}); err != nil {
		return p, err
	}
	return p, is.store.Told(ctx, d, remove)
}

// provisionBatch is how many sealed keys go in one order: it must fit into one message.
const provisionBatch = 500

// order sends one order and makes a fault an error.
func (is *IS) order(ctx context.Context, d dlms.SystemTitle, o bus.Order) (bus.Reply, error) {
	reply, err := is.wan.Order(ctx, d, o)
	if err != nil {
		return reply, fmt.Errorf("concentrator %s: %w", d, err)
	}
	if reply.Fault != nil {
		return reply, fmt.Errorf("concentrator %s: %w", d, reply.Fault)
	}
	return reply, nil
}

// up takes what a concentrator tells. Its sender is known by the bus, never by a field.
func (is *IS) up(ctx context.Context, from dlms.SystemTitle, u bus.Up) error {
	if err := is.heard(from); err != nil {
		return err
	}
	switch {
	case u.Hello != nil:
		return is.hello(ctx, from, *u.Hello)
	case u.Readings != nil:
		return is.collector.Take(ctx, from, *u.Readings)
	case u.Log != nil:
		return is.takeLog(ctx, from, u.Log.Entries)
	}
	return errors.New("nothing told")
}

// hello notes the boot counter. A counter that does not rise is a rewound copy, or a second process with the same
// identity: it is alarmed, and the concentrator is told. The same hello repeated after a lost answer is not.
func (is *IS) hello(ctx context.Context, from dlms.SystemTitle, h bus.Hello) error {
	if err := errors.Join(is.store.CheckDeviceLog(ctx, from, h.LogSequence), is.store.RaiseEpoch(ctx, from, h.Epoch)); err != nil {
		is.alarm(ctx, from, actionRewound, err)
		return err
	}
	mine, err := is.store.Served(ctx, from)
	if err != nil {
		return err
	}
	var foreign []dlms.SystemTitle
	for _, k := range h.Held {
		if !slices.Contains(mine, k.Meter) && !slices.Contains(foreign, k.Meter) {
			foreign = append(foreign, k.Meter)
		}
	}
	if err := is.newerThanKnown(ctx, from, h.Held); err != nil {
		return err
	}
	is.deps.Log.Info("concentrator is up", "concentrator", from.String(), "found", len(h.Found), "held", len(h.Held))
	is.greet(from, foreign...)
	is.reconciler.Kick()
	return nil
}

// greet has a concentrator given what it should hold soon. Foreign are meters that it holds keys of and should not.
func (is *IS) greet(d dlms.SystemTitle, foreign ...dlms.SystemTitle) {
	if len(foreign) > 0 {
		is.greeted.Store(d, foreign)
		return
	}
	is.greeted.LoadOrStore(d, foreign)
}

// greeting takes the greeting of a concentrator that was not welcomed yet: whoever takes it welcomes it, or puts it back.
func (is *IS) greeting(d dlms.SystemTitle) (foreign []dlms.SystemTitle, greeted bool) {
	said, greeted := is.greeted.LoadAndDelete(d)
	foreign, _ = said.([]dlms.SystemTitle)
	return foreign, greeted
}

// welcome gives the concentrators that have greeted what they should hold: the versions in force. One that was told of
// them while it was away, or that has forgotten one that came back, gets them here.
func (is *IS) welcome(ctx context.Context) error {
	var titles []dlms.SystemTitle
	is.greeted.Range(func(t, _ any) bool {
		if d, ok := t.(dlms.SystemTitle); ok {
			titles = append(titles, d)
		}
		return true
	})
	slices.SortFunc(titles, func(a, b dlms.SystemTitle) int { return bytes.Compare(a[:], b[:]) })
	var errs []error
	for _, d := range titles {
		foreign, greeted := is.greeting(d)
		if !greeted { // somebody has provisioned it meanwhile
			continue
		}
		if _, err := is.settleKeys(ctx, d, foreign); err != nil && !errors.Is(err, errRevoked) {
			is.greet(d, foreign...)
			errs = append(errs, fmt.Errorf("welcome concentrator %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// What an outside holder did that somebody has to look at.
const (
	actionRewound audit.Action = "device.alarm.rewound"
	actionLogGap  audit.Action = "device.alarm.log-gap"
)

// alarm puts a device's misdeed on the record, once in this process: devices repeat themselves until they are heard.
func (is *IS) alarm(ctx context.Context, d dlms.SystemTitle, what audit.Action, cause error) {
	is.deps.Log.Error("device alarm", "action", string(what), "device", d.String(), "error", cause)
	type alarmed struct {
		device dlms.SystemTitle
		what   audit.Action
	}
	if _, known := is.alarms.LoadOrStore(alarmed{d, what}, true); known {
		return
	}
	err := is.audit.Append(ctx, audit.Entry{
		Actor: actorIS, Action: what, Phase: audit.Done, Subject: audit.Subject{Device: d}, Detail: map[string]string{"cause": cause.Error()},
	})
	if err != nil {
		is.deps.Log.Error("the audit log did not take an alarm", "device", d.String(), "error", err)
	}
}
