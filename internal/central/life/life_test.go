package life

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

var (
	meter = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	other = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 2}
	dc    = dlms.SystemTitle{'M', 'S', 'L', 0xC0, 0, 0, 0, 1}
	tsp   = dlms.SystemTitle{'M', 'S', 'L', 0x75, 0, 0, 0, 1}
	node  = dlms.SystemTitle{'M', 'S', 'L', 0x15, 0, 0, 0, 1}
)

func at(minute int) time.Time { return time.Date(2026, 11, 3, 8, minute, 0, 0, time.UTC) }

func about(m dlms.SystemTitle, r role.Role, version uint32, check string, device dlms.SystemTitle) audit.Subject {
	s := audit.KeySubject(role.KeyRef{Meter: m, Role: r, Version: version}, check)
	s.Device = device
	return s
}

func TestALifeIsToldFromImportToSuccessorWithEveryUse(t *testing.T) {
	b := New(meter)
	lan := func(v uint32, device dlms.SystemTitle) audit.Subject {
		return about(meter, role.CCLAN, v, map[uint32]string{1: "A1A1A1", 2: "B2B2B2"}[v], device)
	}
	told := func(n int, u keylog.Use) keylog.Entry {
		return keylog.Entry{Sequence: uint64(n), Time: at(10 + n), Text: u.String()}
	}
	byDC := keylog.Use{As: "read/write", Ref: role.KeyRef{Meter: meter, Role: role.CCLAN, Version: 2}}
	byTSP := keylog.Use{As: "terminal", Ref: role.KeyRef{Meter: meter, Role: role.CCLOCALE, Version: 1}, Grant: "g7", LastDay: dlms.Day{7, 0xEA, 11, 4}}
	foreign := byDC
	foreign.Ref.Meter = other
	for _, e := range []audit.Entry{
		{
			At: at(0), Actor: "maker:MSL", Action: "vault.meter.imported", Phase: audit.Done, Subject: audit.Subject{Meter: meter},
			Detail: map[string]string{"CCC": "C0C0C0", "CC_LAN": "A1A1A1", "CC_LOCALE": "D3D3D3"},
		},
		{At: at(0), Actor: "x", Action: "vault.meter.imported", Phase: audit.Done, Subject: audit.Subject{Meter: other}, Detail: map[string]string{"CC_IS": "EEEEEE"}},
		{At: at(1), Actor: "system:rotation", Action: "vault.key.generated", Phase: audit.Done, Subject: lan(2, dlms.SystemTitle{})},
		{At: at(2), Actor: "system:is", Action: "vault.key.sealed", Phase: audit.Intent, Op: "1", Subject: lan(2, dc), Outcome: "to a concentrator"},
		{At: at(2), Actor: "system:is", Action: "vault.key.sealed", Phase: audit.Result, Op: "1", Subject: lan(2, dc), Outcome: "ok"},
		{At: at(3), Actor: "system:rotation", Action: "vault.key.used", Phase: audit.Intent, Op: "2", Subject: lan(2, node), Outcome: "prove"},
		{At: at(4), Actor: "system:rotation", Action: "vault.key.used", Phase: audit.Result, Op: "2", Subject: lan(2, node), Outcome: "refused"},
		{At: at(5), Actor: "system:rotation", Action: "vault.key.used", Phase: audit.Intent, Op: "3", Subject: lan(2, node), Outcome: "prove"},
		{At: at(6), Actor: "system:rotation", Action: "vault.key.used", Phase: audit.Result, Op: "3", Subject: lan(2, node), Outcome: "opened"},
		{At: at(7), Actor: "system:rotation", Action: "vault.key.active", Phase: audit.Done, Subject: lan(2, dlms.SystemTitle{}), Outcome: "shown by the meter itself", Detail: map[string]string{"from": "sent"}},
		{At: at(7), Actor: "system:rotation", Action: "vault.key.superseded", Phase: audit.Done, Subject: lan(1, dlms.SystemTitle{}), Detail: map[string]string{"from": "active"}},
		{At: at(8), Actor: "system:is", Action: "meter.alarm.counter-burnt", Phase: audit.Done, Subject: about(meter, role.CCLAN, 2, "", dlms.SystemTitle{})},
		{
			At: at(9), Actor: "system:is", Action: "device.log.joined", Phase: audit.Done, Subject: audit.Subject{Device: dc},
			Log: []keylog.Entry{told(1, byDC), told(2, foreign), told(3, byDC), {Sequence: 4, Text: "started"}},
		},
		{At: at(9), Actor: "system:is", Action: "device.log.joined", Phase: audit.Done, Subject: audit.Subject{Device: tsp}, Log: []keylog.Entry{told(1, byTSP)}},
		{At: at(9), Actor: "person:ada", Action: "fleet.meter.moved", Phase: audit.Done, Subject: audit.Subject{Meter: meter, Device: dc}},
	} {
		b.Add(e)
	}
	maker := Event{At: at(0), By: "maker:MSL", Text: "came with the meter, from its maker"}
	want := Life{
		Meter: meter,
		Keys: []Key{
			{KeyRef: role.KeyRef{Meter: meter, Role: role.CCC, Version: 1}, CheckValue: "C0C0C0", Events: []Event{maker}},
			{KeyRef: role.KeyRef{Meter: meter, Role: role.CCLAN, Version: 1}, CheckValue: "A1A1A1", Events: []Event{
				maker, {At: at(7), By: "system:rotation", Text: "superseded by another version (it was active)"},
			}},
			{
				KeyRef: role.KeyRef{Meter: meter, Role: role.CCLAN, Version: 2}, CheckValue: "B2B2B2",
				Events: []Event{
					{At: at(1), By: "system:rotation", Text: "made in the vault"},
					{At: at(2), By: "system:is", Text: "sealed to " + dc.String()},
					{At: at(7), By: "system:rotation", Text: "in force, shown by the meter itself (it was sent)"},
					{At: at(8), By: "system:is", Text: "meter.alarm.counter-burnt", Alarm: true},
				},
				Uses: []Use{
					{By: "system:rotation", As: "prove", Count: 2, Results: map[string]int{"opened": 1, "refused": 1}, First: at(3), Last: at(5)},
					{By: dc.String(), As: "read/write", Told: true, Count: 2, First: at(11), Last: at(13)},
				},
			},
			{KeyRef: role.KeyRef{Meter: meter, Role: role.CCLOCALE, Version: 1}, CheckValue: "D3D3D3", Events: []Event{maker}, Uses: []Use{
				{By: tsp.String(), As: "terminal", Told: true, Grant: "g7", LastDay: dlms.Day{7, 0xEA, 11, 4}, Count: 1, First: at(11), Last: at(11)},
			}},
		},
		Events: []Event{{At: at(9), By: "person:ada", Text: "fleet.meter.moved to " + dc.String()}},
	}
	if diff := cmp.Diff(want, b.Life()); diff != "" {
		t.Error(diff)
	}
}
