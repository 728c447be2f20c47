package meter

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/role"
)

// today is the day of the rig's clock.
func (r *rig) today() dlms.Day { return dlms.DayOf(r.clock().In(loadcurve.FileTime())) }

func dayAfter(d dlms.Day, n int) dlms.Day {
	t := must(time.Parse(time.DateOnly, d.String()))
	return dlms.DayOf(t.AddDate(0, 0, n))
}

// engineer is the n-th terminal.
func engineer(n byte) who {
	w := terminals
	w.title[7] = n
	return w
}

// openUntil opens as a terminal that was given a key until a day.
func (r *rig) openUntil(w who, last dlms.Day) (*client.Association, error) {
	before := r.last
	defer func() { r.last = before }()
	r.last = last
	return r.tryOpen(w)
}

func wantRejected(t *testing.T, what string, err error, result apdu.AssociationResult, d apdu.Diagnostic) {
	t.Helper()
	var r *client.RejectError
	if !errors.As(err, &r) || r.Result != result || r.Diagnostic != d {
		t.Errorf("%s: want %s, %s, got %v", what, result, d, err)
	}
}

func TestATerminalOpensUntilTheEndOfItsLastDayAndNeverAfter(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.last = r.today()
	a := r.open(terminals)
	r.get(a, clockObject(), 2)
	midnight := time.Date(2006, 12, 20, 0, 0, 0, 0, loadcurve.FileTime())
	r.pass(midnight.Add(-time.Second).Sub(r.clock()))
	r.get(a, clockObject(), 2)
	r.get(r.open(terminals), clockObject(), 2)
	open := r.open(terminals)
	r.pass(time.Second)
	if _, err := open.Get(context.Background(), ref(clockObject(), 2)); err == nil {
		t.Error("the association outlived its day")
	}
	_, err := r.tryOpen(terminals)
	wantRejected(t, "after its day", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	r.restart()
	_, err = r.tryOpen(terminals)
	wantRejected(t, "after a restart", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
}

func TestTheLastDayEndsByTheMetersOwnZone(t *testing.T) {
	for _, hours := range []int{-9, 0, 5} {
		zone := time.FixedZone("", hours*3600)
		r := newRig(t, ProfileHardened, func(r *rig) { r.zone = zone })
		a := r.open(central)
		if got := must(must(r.get(a, clockObject(), 2).DateTime()).TimeIn(time.UTC)); !got.Equal(r.clock().Truncate(10 * time.Millisecond)) {
			t.Errorf("UTC%+d: the clock shows %s at %s", hours, got, r.clock())
		}
		if got := must(r.get(a, clockObject(), 3).Int()); got != int64(-60*hours) {
			t.Errorf("UTC%+d: time_zone is %d", hours, got)
		}
		now := r.clock().In(zone)
		r.last = dlms.DayOf(now)
		midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, zone)
		r.pass(midnight.Add(-time.Second).Sub(now))
		r.open(terminals)
		r.pass(time.Second)
		_, err := r.tryOpen(terminals)
		wantRejected(t, "after its day", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	}
}

func TestAnAssociationWhoseDayPassesIsEndedBySweepToo(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.last = r.today()
	r.open(terminals)
	r.pass(12 * time.Hour)
	r.meter.Server().Sweep()
	if open, half := r.meter.Server().Associations(); open+half != 0 {
		t.Errorf("%d open, %d half-open", open, half)
	}
	if codes := r.codes(logCommunication); codes[len(codes)-1] != codeLocalClosed {
		t.Errorf("the log has %v", codes)
	}
}

func TestADishonestTerminalCannotMakeItsKeyLastLonger(t *testing.T) {
	r := newRig(t, ProfileHardened)
	stolen := r.keys[role.CCLOCALE]
	last := r.today()
	k := must(stolen.Derive(titleTSP, last))
	try := func(k opener, title dlms.SystemTitle, info []byte) error {
		cfg := client.Linky(title, r.birth.Row.Title, r.longTerm(k, title), r.rand)
		cfg.WrapAEAD, cfg.Implementation = r.oracle.Wrap, info
		_, err := client.Open(context.Background(), &conn{r: r, link: LinkLocal, sap: role.SAPTSP, server: role.SAPServer}, cfg)
		return err
	}
	if err := try(k, titleTSP, role.LastDayInfo(last)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		k     opener
		title dlms.SystemTitle
		info  []byte
		want  apdu.Diagnostic
	}{
		"it says a later day":              {k, titleTSP, role.LastDayInfo(dayAfter(last, 1)), apdu.DiagnosticAuthenticationFailure},
		"it says another title":            {k, dlms.SystemTitle{'T', 'S', 'P', 0, 0, 0, 0, 9}, role.LastDayInfo(last), apdu.DiagnosticAuthenticationFailure},
		"it says no day":                   {k, titleTSP, nil, apdu.DiagnosticCallingTitleUnknown},
		"it says a day that does not read": {k, titleTSP, []byte("last day 2006-12-99"), apdu.DiagnosticCallingTitleUnknown},
		"it says what is too long":         {k, titleTSP, bytes.Repeat([]byte("x"), 200), apdu.DiagnosticNoReason},
		"CC_LOCALE itself":                 {stolen, titleTSP, role.LastDayInfo(last), apdu.DiagnosticAuthenticationFailure},
		"CC_LOCALE itself and no day":      {stolen, titleTSP, nil, apdu.DiagnosticCallingTitleUnknown},
	} {
		wantRejected(t, what, try(c.k, c.title, c.info), apdu.AssociationRejectedPermanent, c.want)
	}
}

func TestAMeterThatCannotTellTheDayTakesNoDerivedKeyUntilItsClockIsSet(t *testing.T) {
	r := newRig(t, ProfileHardened, func(r *rig) { r.birth.Cold = true })
	for _, last := range []dlms.Day{r.last, dlms.DayOf(coldStart())} {
		_, err := r.openUntil(terminals, last)
		wantRejected(t, "a cold clock", err, apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	}
	if err := r.setClock(r.open(central), r.clock()); err != nil {
		t.Fatal(err)
	}
	r.get(r.open(terminals), clockObject(), 2)
	_, err := r.openUntil(terminals, dlms.DayOf(coldStart()))
	wantRejected(t, "a day in the year 2000", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
}

func TestAClockThatIsSetOverTheDayEndsTheAssociation(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(terminals)
	if err := r.setClock(r.open(central), r.clock().AddDate(0, 3, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(context.Background(), ref(clockObject(), 2)); err == nil {
		t.Error("the association outlived its day")
	}
}

func TestLaw4ARecordedAssociationOfADerivedKeyReplaysNever(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.last = r.today()
	a := r.open(terminals)
	aarq := bytes.Clone(r.requests[0])
	if err := a.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	replay := func(what string) {
		t.Helper()
		before, _ := r.meter.Server().Associations()
		answer := r.hand(terminals, aarq)
		if e, err := apdu.ParseAARE(answer); err == nil && e.Result == apdu.AssociationAccepted {
			t.Errorf("%s: the replay was accepted", what)
		}
		if open, half := r.meter.Server().Associations(); open != before || half != 0 {
			t.Errorf("%s: %d open, %d half-open", what, open, half)
		}
	}
	replay("at once")
	r.restart()
	replay("after a restart")
	// Eight other keys, after the day, push the counters out; then the clock goes back into the day.
	day := r.last
	r.pass(24 * time.Hour)
	for n := range byte(maxDays) {
		if _, err := r.openUntil(engineer(10+n), dayAfter(day, 3)); err != nil {
			t.Fatalf("terminal %d: %v", n, err)
		}
	}
	if k := r.meter.state.keys[role.CCLOCALE]; k.passed != day || len(k.days) != maxDays {
		t.Fatalf("want the counters of %s forgotten, got passed %s and %d", day, k.passed, len(k.days))
	}
	if err := r.setClock(r.open(central), noon()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		replay("with forgotten counters and a clock that was put back")
		_, err := r.openUntil(terminals, day)
		wantRejected(t, "the terminal itself", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
		r.meter.mu.Lock()
		r.meter.compactLocked()
		r.meter.mu.Unlock()
		r.restart()
	}
}

func TestEightDerivedKeysHaveCountersAndANinthWaitsForADayToPass(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for n := range byte(maxDays) {
		if _, err := r.openUntil(engineer(n), dayAfter(r.today(), 1+int(n)%2)); err != nil {
			t.Fatalf("terminal %d: %v", n, err)
		}
	}
	_, err := r.openUntil(engineer(99), r.last)
	wantRejected(t, "a ninth", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	if _, err := r.openUntil(engineer(0), dayAfter(r.today(), 1)); err != nil {
		t.Errorf("one of the eight: %v", err)
	}
	r.pass(48 * time.Hour)
	if _, err := r.openUntil(engineer(99), r.last); err != nil {
		t.Errorf("the ninth, when four days have passed: %v", err)
	}
	if k := r.meter.state.keys[role.CCLOCALE]; len(k.days) != maxDays/2+1 {
		t.Errorf("want half of the counters forgotten, got %d", len(k.days))
	}
}

func TestTwoGrantsOfOneTerminalDoNotLockEachOtherOut(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for range 3 { // the oracle fails the test at the first repeated nonce, the meter's included
		for _, n := range []int{9, 2, 5} {
			a, err := r.openUntil(terminals, dayAfter(r.today(), n))
			if err != nil {
				t.Fatalf("until %d days from now: %v", n, err)
			}
			r.get(a, clockObject(), 2)
		}
		r.restart()
	}
}

func TestLaw6ANewKeyEndsEveryKeyThatWasDerivedFromTheOldOne(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(terminals)
	k, blob := r.wrapped()
	if err := r.transfer(role.CCLOCALE, cosem.KeyGlobalUnicast, blob); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(context.Background(), ref(clockObject(), 2)); err == nil {
		t.Error("the association of the replaced key is still served")
	}
	_, err := r.tryOpen(terminals)
	wantRejected(t, "under the replaced key", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
	r.keys[role.CCLOCALE] = k
	r.get(r.open(terminals), clockObject(), 2)
}

func TestLaw9NoFloorOfADerivedKeyMovesBeforeTheTagHasVerified(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(terminals)
	aarq := bytes.Clone(r.requests[0])
	before := append([]dayFloor(nil), r.meter.state.keys[role.CCLOCALE].days...)
	r.hand(terminals, aarq)
	for bit := range 8 * len(aarq) {
		altered := bytes.Clone(aarq)
		altered[bit/8] ^= 1 << (bit % 8)
		r.hand(terminals, altered)
	}
	if after := r.meter.state.keys[role.CCLOCALE].days; len(after) != 1 || after[0] != before[0] {
		t.Errorf("the floors went from %v to %v", before, after)
	}
	r.get(a, clockObject(), 2)
}

func TestALinkyMeterTakesCCLocaleItselfAsPublished(t *testing.T) {
	r := newRig(t, ProfileLinky)
	r.get(r.open(terminals), clockObject(), 2)
	d := must(r.keys[role.CCLOCALE].Derive(titleTSP, r.last))
	cfg := client.Linky(titleTSP, r.birth.Row.Title, r.longTerm(d, titleTSP), r.rand)
	cfg.Implementation = role.LastDayInfo(r.last)
	_, err := client.Open(context.Background(), &conn{r: r, link: LinkLocal, sap: role.SAPTSP, server: role.SAPServer}, cfg)
	wantRejected(t, "a derived key", err, apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
}

func TestLaw5AFloorOfADerivedKeyThatCannotBeReadRefusesTheKeyUntilItIsReplaced(t *testing.T) {
	for what, spoil := range map[string]func(w *frameWriter){
		"a floor that is cut": func(w *frameWriter) {
			w.record(recDayFloor, func(b []byte) []byte { return append(b, byte(role.CCLOCALE), 0, 0, 0, 1, 7) })
		},
		"a passed day that is cut": func(w *frameWriter) {
			w.record(recPassed, func(b []byte) []byte { return append(b, byte(role.CCLOCALE), 0, 0, 0, 1, 7) })
		},
		"more keys than there can be": func(w *frameWriter) {
			for i := range byte(maxDays + 1) {
				w.dayFloor(role.CCLOCALE, 1, dayFloor{dlms.SystemTitle{i + 1}, dlms.Day{7, 0xD6, 12, 30}, 5})
			}
		},
	} {
		r := newRig(t, ProfileHardened)
		w := new(frameWriter)
		spoil(w)
		if err := r.memory.Append(w.b, true); err != nil {
			t.Fatal(err)
		}
		r.restart()
		if _, err := r.tryOpen(terminals); err == nil {
			t.Errorf("%s: a derived key opens all the same", what)
		}
		k, blob := r.wrapped()
		if err := r.transfer(role.CCLOCALE, cosem.KeyGlobalUnicast, blob); err != nil {
			t.Fatalf("%s: a new key: %v", what, err)
		}
		r.keys[role.CCLOCALE] = k
		r.open(terminals)
	}
}
