package vaulttest

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

func head(row vault.KeyRow, to dlms.SystemTitle) enrol.SealedKey {
	return enrol.SealedKey{
		Meter: row.Ref.Meter, Role: row.Ref.Role, Version: row.Ref.Version, Recipient: to, FirstCounter: 1, LastCounter: 100,
	}
}

func (r *rig) seal() {
	for kind, c := range map[enrol.Kind]struct {
		title dlms.SystemTitle
		role  role.Role
	}{enrol.Concentrator: {dc, role.CCLAN}, enrol.Terminal: {tsp, role.CCLOCALE}} {
		d, id := r.enrolled(kind, c.title)
		r.ok(r.hold.CheckDevice(d))
		row, k := r.adopt(c.role)
		sealed, err := r.hold.SealRow(d, head(row, c.title), row)
		r.ok(err)
		got, err := id.Open(sealed)
		if err != nil || !got.Equal(k) {
			r.t.Errorf("%s: %v", kind, err)
		}
		made := r.fresh(c.role, 2)
		sealed, err = r.hold.SealRow(d, head(made, c.title), made)
		r.ok(err)
		if got, err = id.Open(sealed); err != nil || got.Fingerprint() != made.Fingerprint {
			r.t.Errorf("%s: a key that the vault made: %v", kind, err)
		}
	}
}

func (r *rig) sealRefuses() {
	d, _ := r.enrolled(enrol.Concentrator, dc)
	lan, _ := r.adopt(role.CCLAN)
	is, _ := r.adopt(role.CCIS)
	for name, c := range map[string]struct {
		row  vault.KeyRow
		head enrol.SealedKey
		want error
	}{
		"CC_IS":                   {is, head(is, dc), vault.ErrRole},
		"CCC":                     {r.ccc, head(r.ccc, dc), vault.ErrRole},
		"CC_IS as CC_LAN":         {is, head(lan, dc), vault.ErrRole},
		"to another device":       {lan, head(lan, tsp), vault.ErrRow},
		"under another's version": {lan, head(vault.KeyRow{Ref: ref(meter, role.CCLAN, 9)}, dc), vault.ErrRow},
	} {
		_, err := r.hold.SealRow(d, c.head, c.row)
		r.refused(name, c.want, err)
	}
	none := head(lan, dc)
	none.LastCounter = 0
	if _, err := r.hold.SealRow(d, none, lan); err == nil {
		r.t.Error("sealed without counters")
	}
	moved := d
	moved.Title = tsp
	_, err := r.hold.SealRow(moved, head(lan, tsp), lan)
	r.refused("with the keys of another device", vault.ErrRow, err)
}

var lastDay = dlms.DayOf(at.AddDate(0, 0, 3))

func derivedHead(row vault.KeyRow, to dlms.SystemTitle) enrol.SealedKey {
	h := head(row, to)
	h.LastDay = lastDay
	return h
}

func (r *rig) derived() {
	d, id := r.enrolled(enrol.Terminal, tsp)
	row, k := r.adopt(role.CCLOCALE)
	sealed, err := r.hold.SealDerived(d, derivedHead(row, tsp), row)
	r.ok(err)
	got, err := id.OpenDerived(sealed)
	r.ok(err)
	want, err := k.Derive(tsp, lastDay)
	r.ok(err)
	if !got.Equal(want) {
		r.t.Error("the meter derives another key")
	}
	if _, err := id.Open(sealed); err == nil {
		r.t.Error("a derived key was taken for CC_LOCALE")
	}
	_, err = r.hold.AdoptCopy(d, sealed, 0)
	r.refused("as a copy", enrol.ErrSealed, err)
}

func (r *rig) deriveRefuses() {
	d, _ := r.enrolled(enrol.Terminal, tsp)
	concentrator, _ := r.enrolled(enrol.Concentrator, dc)
	local, _ := r.adopt(role.CCLOCALE)
	lan, _ := r.adopt(role.CCLAN)
	for name, c := range map[string]struct {
		d    vault.DeviceRow
		head enrol.SealedKey
		row  vault.KeyRow
		want error
	}{
		"from CC_LAN":        {d, derivedHead(lan, tsp), lan, vault.ErrRole},
		"from CCC":           {d, derivedHead(r.ccc, tsp), r.ccc, vault.ErrRole},
		"for a concentrator": {concentrator, derivedHead(local, dc), local, vault.ErrRole},
		"without a day":      {d, head(local, tsp), local, vault.ErrRole},
		"for another":        {d, derivedHead(local, dc), local, vault.ErrRow},
		"of another meter":   {d, derivedHead(vault.KeyRow{Ref: ref(neighbor, role.CCLOCALE, 1)}, tsp), local, vault.ErrRow},
	} {
		_, err := r.hold.SealDerived(c.d, c.head, c.row)
		r.refused(name, c.want, err)
	}
	_, err := r.hold.SealRow(d, derivedHead(local, tsp), local)
	r.refused("CC_LOCALE itself with a last day", vault.ErrRole, err)
}

func (r *rig) grant() {
	d, id := r.enrolled(enrol.Terminal, tsp)
	row, _ := r.adopt(role.CCLOCALE)
	sealed, err := r.hold.SealRow(d, head(row, tsp), row)
	r.ok(err)
	g := enrol.Grant{ID: "g1", Terminal: tsp, NotBefore: at, NotAfter: at.AddDate(0, 0, 3), Keys: []enrol.SealedKey{sealed}}
	g, err = r.hold.SealGrant(d, g)
	r.ok(err)
	r.ok(g.Verify(tsp, id.MAC()))
	longer := g
	longer.NotAfter = longer.NotAfter.AddDate(1, 0, 0)
	r.refused("a longer one", enrol.ErrGrant, longer.Verify(tsp, id.MAC()))
	g.Terminal = dc
	_, err = r.hold.SealGrant(d, g)
	r.refused("for another terminal", vault.ErrRow, err)
}

func (r *rig) terminalLog() {
	d, id := r.enrolled(enrol.Terminal, tsp)
	f, err := id.LogFile([]keylog.Entry{{Sequence: 1, Time: at, Text: "a use", Hash: []byte("hash")}})
	r.ok(err)
	r.ok(r.hold.VerifyLog(d, f))
	for what, alter := range map[string]func(f *enrol.LogFile){
		"an entry": func(f *enrol.LogFile) {
			f.Entries = []keylog.Entry{{Sequence: 1, Time: at, Text: "another use", Hash: []byte("hash")}}
		},
		"MAC":    func(f *enrol.LogFile) { f.MAC = flipped(f.MAC, 1) },
		"no MAC": func(f *enrol.LogFile) { f.MAC = nil },
		"schema": func(f *enrol.LogFile) { f.Schema = "x" },
	} {
		bad := f
		alter(&bad)
		r.refused(what, enrol.ErrLogFile, r.hold.VerifyLog(d, bad))
	}
	bad := f
	bad.Terminal = dc
	r.refused("another terminal's", vault.ErrRow, r.hold.VerifyLog(d, bad))
}

func (r *rig) adoptCopy() {
	d, _ := r.enrolled(enrol.Concentrator, dc)
	row, _ := r.adopt(role.CCLAN)
	copied, err := r.hold.SealRow(d, head(row, dc), row)
	r.ok(err)
	back, err := r.hold.AdoptCopy(d, copied, 0)
	r.ok(err)
	if back.Ref != row.Ref || back.Fingerprint != row.Fingerprint || back.CheckValue != row.CheckValue {
		r.t.Errorf("another row came back: %+v", back)
	}
	r.ok(r.hold.CheckRow(back))
	r.meterTakes(back)
	for name, alter := range map[string]func(c *enrol.SealedKey){
		"blob":      func(c *enrol.SealedKey) { c.Blob = flipped(c.Blob, 1) },
		"MAC":       func(c *enrol.SealedKey) { c.MAC = flipped(c.MAC, 1) },
		"no MAC":    func(c *enrol.SealedKey) { c.MAC = nil },
		"version":   func(c *enrol.SealedKey) { c.Version++ },
		"meter":     func(c *enrol.SealedKey) { c.Meter = neighbor },
		"role":      func(c *enrol.SealedKey) { c.Role = role.CCLOCALE },
		"CC_IS":     func(c *enrol.SealedKey) { c.Role = role.CCIS },
		"counters":  func(c *enrol.SealedKey) { c.LastCounter++ },
		"recipient": func(c *enrol.SealedKey) { c.Recipient = tsp },
	} {
		c := copied
		alter(&c)
		_, err := r.hold.AdoptCopy(d, c, 0)
		r.refused(name, enrol.ErrSealed, err)
	}
	stranger, _ := r.enrolled(enrol.Terminal, tsp)
	_, err = r.hold.AdoptCopy(stranger, copied, 0)
	r.refused("another device's", enrol.ErrSealed, err)
}

func (r *rig) device() {
	good, _ := r.enrolled(enrol.Concentrator, dc)
	for name, alter := range map[string]func(d *vault.DeviceRow){
		"title":           func(d *vault.DeviceRow) { d.Title = tsp },
		"swapped":         func(d *vault.DeviceRow) { d.KEK, d.MAC = d.MAC, d.KEK },
		"KEK":             func(d *vault.DeviceRow) { d.KEK.Sealed = flipped(d.KEK.Sealed, 5) },
		"MAC of KEK":      func(d *vault.DeviceRow) { d.KEK.MAC = flipped(d.KEK.MAC, 5) },
		"name of KEK":     func(d *vault.DeviceRow) { d.KEK.Fingerprint[0] ^= 1 },
		"term of MAC key": func(d *vault.DeviceRow) { d.MAC.Term++ },
		"MAC key":         func(d *vault.DeviceRow) { d.MAC.Sealed = flipped(d.MAC.Sealed, 5) },
		"nothing":         func(d *vault.DeviceRow) { d.MAC = vault.DeviceKeyRow{} },
	} {
		d := good
		alter(&d)
		r.refused(name, vault.ErrRow, r.hold.CheckDevice(d))
		_, err := r.hold.ReSealDevice(d)
		r.refused(name+": re-seal", vault.ErrRow, err)
	}
	r.ok(r.hold.CheckDevice(good))
}
