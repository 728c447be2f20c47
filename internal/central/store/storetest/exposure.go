package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// derivedExposure: what was derived for a terminal is exposed until its day has passed, and what was given away until it
// is changed.
func (w *world) derivedExposure(terminal, meter dlms.SystemTitle) {
	w.t.Helper()
	w.update(func(ctx context.Context) error {
		local := keyOf(role.CCLOCALE, meter, 2, vault.Active)
		derived := func(minutes, days int, grant string) vault.Handout {
			h := handout(terminal, local, minutes)
			h.LastDay, h.Grant = dlms.DayOf(at.AddDate(0, 0, days)), grant
			return h
		}
		err := w.SetKeyStates(ctx, []vault.StateChange{{Ref: role.KeyRef{Meter: meter, Role: role.CCLOCALE, Version: 1}, State: vault.Superseded, At: at}})
		return errors.Join(err, w.AddKeys(ctx, []vault.KeyRow{local}),
			w.AddHandouts(ctx, []vault.Handout{derived(30, 1, "g1"), derived(31, 4, ""), derived(32, 2, "")}))
	})
	for days, want := range map[int]int{0: 1, 4: 1, 5: 0} {
		e, err := w.Exposure(w.t.Context(), rotation.ExposureQuery{Meter: meter, Terminal: terminal}, at.AddDate(0, 0, days))
		w.must(err)
		var got []rotation.Holding
		for _, h := range e.Holdings {
			if h.Holder == terminal {
				got = append(got, h)
			}
		}
		if len(got) != want || want > 0 && got[0].LastDay != dlms.DayOf(at.AddDate(0, 0, 4)) {
			w.t.Errorf("after %d days: want %d, got %+v", days, want, got)
		}
	}
	if away, err := w.GivenAway(w.t.Context(), "g1"); err != nil || len(away) != 0 {
		w.t.Errorf("a grant of a derived key: given away %v, %v", away, err)
	}
	if away, err := w.GivenAway(w.t.Context(), "g2"); err != nil || len(away) != 3 {
		w.t.Errorf("a grant of unknown handings-out: given away %v, %v", away, err)
	}
	whole := handout(terminal, keyOf(role.CCLOCALE, meter, 2, vault.Active), 40)
	whole.Grant = "g1"
	w.update(func(ctx context.Context) error { return w.AddHandouts(ctx, []vault.Handout{whole}) })
	if e, err := w.Exposure(w.t.Context(), rotation.ExposureQuery{Terminal: terminal}, at); err != nil || e.Holdings[0].Meter != meter || !e.Holdings[0].LastDay.IsZero() {
		w.t.Errorf("the key itself besides: got %+v, %v", e.Holdings, err)
	}
	if away, err := w.GivenAway(w.t.Context(), "g1"); err != nil || len(away) != 1 {
		w.t.Errorf("a grant of the key itself: given away %v, %v", away, err)
	}
}

func exposure(t *testing.T, w *world) {
	meters, dc := w.enrol(4)
	other, terminal := w.second(), deviceRow(title('T', 1))
	terminal.Kind = fleet.KindTerminal
	w.update(func(ctx context.Context) error {
		err := w.AddDevice(ctx, terminal)
		var handouts []vault.Handout
		for i, m := range meters {
			lan, old, local := lanKey(m, 2, vault.Active), lanKey(m, 1, vault.Superseded), keyOf(role.CCLOCALE, m, 1, vault.Active)
			err = errors.Join(err, w.AddKeys(ctx, []vault.KeyRow{old, lan, local}))
			handouts = append(handouts, handout(dc, old, i), handout(dc, lan, 10+i), handout(dc, lan, 90), handout(terminal.Title, local, 20+i))
		}
		live := fleet.Grant{ID: "g1", Terminal: terminal.Title, Meters: meters[:1], NotBefore: at, NotAfter: at.Add(time.Hour), State: fleet.GrantLive}
		ended := live
		ended.ID, ended.Meters, ended.State = "g2", meters[1:], fleet.GrantEnded
		return errors.Join(err, w.AddHandouts(ctx, handouts), w.AddGrant(ctx, live, at), w.AddGrant(ctx, ended, at))
	})
	w.move(other, meters[3])
	e, err := w.Exposure(t.Context(), rotation.ExposureQuery{Limit: 2}, at)
	w.must(err)
	total := map[string]int{}
	for _, x := range e.Totals {
		total[x.Role.String()+" "+x.Why] = x.Keys
	}
	want := map[string]int{
		"CC_LAN " + rotation.WhyOwn: 3, "CC_LAN " + rotation.WhyMoved: 1,
		"CC_LOCALE " + rotation.WhyGrant: 1, "CC_LOCALE " + rotation.WhyEnded: 3,
	}
	if fmt.Sprint(total) != fmt.Sprint(want) || e.Omitted != 6 {
		t.Errorf("want %v and 6 omitted, got %v and %d", want, total, e.Omitted)
	}
	if h := e.Holdings; len(h) != 2 || h[0].Meter != meters[3] || h[0].Role != role.CCLOCALE || !h[0].Since.Equal(at.Add(23*time.Minute)) || h[0].Kind != fleet.KindTerminal {
		t.Errorf("want the newest first, got %+v", h)
	}
	for q, want := range map[*rotation.ExposureQuery]int{
		{Meter: meters[3]}: 2, {Meter: meters[0], Unentitled: true}: 0, {Concentrator: dc}: 4, {Concentrator: dc, Unentitled: true}: 1,
		{Terminal: terminal.Title, Unentitled: true}: 3, {Concentrator: other}: 0,
	} {
		if e, err := w.Exposure(t.Context(), *q, at); err != nil || len(e.Holdings) != want {
			t.Errorf("%+v: want %d, got %d, %v", *q, want, len(e.Holdings), err)
		}
	}
	if e, err := w.Exposure(t.Context(), rotation.ExposureQuery{Meter: meters[0], Unentitled: true}, at.Add(2*time.Hour)); err != nil ||
		len(e.Holdings) != 1 || e.Holdings[0].Why != rotation.WhyEnded {
		t.Errorf("a grant whose time is over: got %+v, %v", e.Holdings, err)
	}
	w.derivedExposure(terminal.Title, meters[0])
	w.update(func(ctx context.Context) error { _, err := w.SetDeviceState(ctx, dc, fleet.DeviceRevoked); return err })
	if e, err := w.Exposure(t.Context(), rotation.ExposureQuery{Concentrator: dc, Unentitled: true}, at); err != nil || len(e.Holdings) != 4 ||
		e.Holdings[0].Why != rotation.WhyRevoked || !e.Holdings[3].Since.Equal(at.Add(10*time.Minute)) {
		t.Errorf("a revoked concentrator: got %+v, %v", e.Holdings, err)
	}
}
