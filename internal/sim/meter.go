package sim

import (
	"context"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// unit is one meter: the real one, its memory, and what the world remembers of it.
type unit struct {
	w      *World
	title  dlms.SystemTitle
	kind   *meter.Kind
	memory *memory
	meter  *meter.Meter
	late   []exchange // requests that are still on the line
	heard  []exchange // what anybody on the line could record
	ever   map[role.Role][]key.CheckValue
	// refuses, in a test, has somebody on the line refuse in the meter's name.
	refuses bool
}

// exchange is a request as it crossed the line.
type exchange struct {
	client, server dlms.SAP
	apdu           []byte
}

func (w *World) newUnit(k *meter.Kind, row shipment.Meter) (*unit, error) {
	u := &unit{w: w, title: row.Title, kind: k, memory: new(memory), ever: map[role.Role][]key.CheckValue{}}
	m, err := k.Bear(meter.Birth{Row: row, Installed: w.now(), ScalePerMille: loadcurve.Unscaled}, u.memory)
	if err != nil {
		return nil, err
	}
	u.meter = m
	u.look()
	return u, nil
}

// handle lets the meter serve one APDU; nil is silence. The power may fail in the middle of it.
func (u *unit) handle(ctx context.Context, e exchange) []byte {
	if u.w.opt.Without.Off(defence.AuthenticateThenCount) {
		u.countFirst(e)
	}
	if u.refuses {
		return u.w.forged(e.apdu)
	}
	answer := u.meter.Server().Handle(ctx, meter.LinkLAN, link.Request{Client: e.client, Server: e.server, APDU: e.apdu})
	if u.memory.off {
		u.w.fault("meter power cut")
		u.reboot()
		answer = nil
	}
	u.look()
	return answer
}

// countFirst is what a meter does that believes the counter of an AARQ before the tag has verified (domain rule 2): its
// floor moves up to it, whoever made it.
func (u *unit) countFirst(e exchange) {
	q, err := apdu.ParseAARQ(e.apdu)
	if err != nil {
		return
	}
	c, err := apdu.ParseCiphered(q.UserInformation)
	setup, ok := setupOf(e.client)
	if err != nil || !ok || c.Counter < 2 {
		return
	}
	if lt, err := u.meter.LongTerm(setup); err == nil {
		_ = lt.Floor.Commit(q.CallingTitle, c.Counter-1) // what it refuses it has reached already
	}
}

// setupOf is the security setup whose key opens the association of a client.
func setupOf(client dlms.SAP) (dlms.OBIS, bool) {
	switch client {
	case role.SAPReadWrite, role.SAPBroadcast:
		return role.CCLAN.Setup()
	case role.SAPIS:
		return role.CCIS.Setup()
	}
	return dlms.OBIS{}, false
}

// reboot starts the meter again from what its memory kept. Its sessions are gone.
func (u *unit) reboot() {
	u.memory.restart()
	m, err := u.kind.Restore(u.title, u.memory)
	if err != nil {
		u.w.broken("meter %s does not start again: %v", u.title, err)
		return
	}
	u.meter = m
	u.look()
}

// look sees which keys are in force. One that was in force before, and then another, has come back (law 6).
func (u *unit) look() {
	for _, r := range role.Associations() {
		cv, generation := u.meter.Held(r)
		if generation == 0 {
			continue
		}
		past := u.ever[r]
		switch {
		case len(past) > 0 && past[len(past)-1] == cv:
		case slices.Contains(past, cv):
			u.w.rolledBack++
			u.w.note("ROLLED BACK: %s %s to %s", u.title, r, cv)
			u.ever[r] = append(past, cv)
		default:
			u.w.note("%s holds %s %s", u.title, r, cv)
			u.ever[r] = append(past, cv)
		}
	}
	for _, a := range u.meter.Server().List() {
		r, ok := roleOf(a.Setup)
		if _, generation := u.meter.Held(r); ok && a.Generation != generation {
			u.w.outlived++
			u.w.note("OUTLIVED: %s %s has an association of key %d under key %d", u.title, r, a.Generation, generation)
		}
	}
}

func roleOf(setup dlms.OBIS) (role.Role, bool) {
	for _, r := range role.Associations() {
		if s, ok := r.Setup(); ok && s == setup {
			return r, true
		}
	}
	return 0, false
}
