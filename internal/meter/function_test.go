package meter

import (
	"context"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/role"
)

func (r *rig) wantBreaker(what string, want cosem.ControlState) {
	r.t.Helper()
	if got, err := r.meter.Breaker(); err != nil || got != want {
		r.t.Errorf("%s: want %s, got %s, %v", what, want, got, err)
	}
}

func TestTheBreakerOpensArmsAndIsClosedByTheCustomerAlone(t *testing.T) {
	for profile, w := range map[string]who{ProfileLinky: readWrite, ProfileHardened: central} {
		r := newRig(t, profile)
		a := r.open(w)
		operate := func(n int8) {
			t.Helper()
			if err := invoke(a, breakerObject(), n, dlms.Int8(0)); err != nil {
				t.Fatal(err)
			}
		}
		if closed, err := r.meter.Press(); closed || err != nil {
			t.Errorf("a press on a closed breaker: %v, %v", closed, err)
		}
		operate(1)
		r.wantBreaker("opened", cosem.Disconnected)
		operate(1)
		if closed, _ := r.meter.Press(); closed {
			t.Error("a press closed a breaker that is not armed")
		}
		operate(2)
		r.wantBreaker("armed", cosem.ReadyForReconnection)
		if on, err := r.get(a, breakerObject(), 2).Bool(); on || err != nil {
			t.Errorf("armed: want no current, got %v, %v", on, err)
		}
		if s, err := r.get(a, breakerObject(), 3).Uint(); s != 2 || err != nil {
			t.Errorf("armed: want control state 2, got %d, %v", s, err)
		}
		operate(2)
		r.restart()
		r.wantBreaker("armed, after a restart", cosem.ReadyForReconnection)
		if closed, err := r.meter.Press(); !closed || err != nil {
			t.Errorf("a press on an armed breaker: %v, %v", closed, err)
		}
		r.wantBreaker("closed", cosem.Connected)
		want := []Code{codeBreakerOpened, codeBreakerClosedRemotely, codeBreakerClosedByHand}
		buffer := r.get(r.open(w), logObject(logBreaker), 2)
		for i, code := range want {
			if got, err := buffer.At(i).At(1).Uint(); err != nil || Code(got) != code || buffer.Len() != len(want) {
				t.Errorf("%s: want codes %v in the breaker log, got %s", profile, want, buffer)
			}
		}
	}
}

func TestACustomerWhoPressesAfterAWhileClosesAnArmedBreaker(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.kind.options.PressAfter = time.Minute
	a := r.open(central)
	must(0, invoke(a, breakerObject(), 1, dlms.Int8(0)))
	r.pass(time.Hour)
	r.wantBreaker("opened an hour ago", cosem.Disconnected)
	must(0, invoke(a, breakerObject(), 2, dlms.Int8(0)))
	r.pass(59 * time.Second)
	r.wantBreaker("armed", cosem.ReadyForReconnection)
	r.pass(time.Second)
	r.wantBreaker("a minute later", cosem.Connected)
}

func TestLaw7OnlyTheCentralSystemOperatesBreakerAndKeysOfAHardenedMeter(t *testing.T) {
	r := newRig(t, ProfileHardened)
	_, blob := r.wrapped()
	for _, w := range []who{readWrite, terminals} {
		a := r.open(w)
		for n := int8(1); n <= 2; n++ {
			if err := invoke(a, breakerObject(), n, dlms.Int8(0)); err == nil {
				t.Errorf("client %d operated the breaker", w.sap)
			}
		}
		for _, ro := range role.Associations() {
			if err := invoke(a, setupOf(ro), cosem.MethodKeyTransfer, cosem.KeyTransfer(0, blob)); err == nil {
				t.Errorf("client %d transferred %s", w.sap, ro)
			}
		}
	}
	r.wantBreaker("after all that", cosem.Connected)
	for _, ro := range role.Associations() {
		if _, generation := r.meter.Held(ro); generation != 1 {
			t.Errorf("%s is of generation %d", ro, generation)
		}
	}
}

func TestTheConcentratorOfALinkyMeterOperatesItsBreaker(t *testing.T) {
	r := newRig(t, ProfileLinky)
	if err := invoke(r.open(readWrite), breakerObject(), 1, dlms.Int8(0)); err != nil {
		t.Error(err)
	}
	r.wantBreaker("opened", cosem.Disconnected)
	if _, err := r.tryOpen(who{role.SAPIS, LinkLAN, role.CCLAN, titleDC}); err == nil {
		t.Error("a linky meter has no client of the central system")
	}
}

func (r *rig) setClock(a *client.Association, to time.Time) error {
	return a.Set(context.Background(), ref(clockObject(), 2), dlms.DateTimeOf(to.In(loadcurve.FileTime()), 0).Octets())
}

func TestAColdClockIsSetByTheCentralSystemAndByNobodyElse(t *testing.T) {
	for profile, setter := range map[string]who{ProfileLinky: readWrite, ProfileHardened: central} {
		r := newRig(t, profile, func(r *rig) { r.birth.Cold = true })
		if shows, cold := r.meter.Clock(); !cold || !shows.Equal(coldStart()) {
			t.Fatalf("want a cold clock at %s, got %s", coldStart(), shows)
		}
		status := func() dlms.ClockStatus {
			return must(r.get(r.open(setter), clockObject(), 2).DateTime()).Status()
		}
		if status() != dlms.ClockInvalid {
			t.Errorf("%s: a cold clock does not say so", profile)
		}
		b := r.openBroadcast(caster)
		r.cast(must(b.AppendSet(nil, apdu.Attribute{Ref: ref(clockObject(), 2)}, dlms.DateTimeOf(r.clock(), 0).Octets())))
		if profile == ProfileHardened {
			wantAccess(t, "the concentrator", r.setClock(r.open(readWrite), r.clock()), dlms.DataAccessScopeViolated)
		}
		if _, cold := r.meter.Clock(); !cold {
			t.Errorf("%s: the clock was set by a client that may only correct it", profile)
		}
		if err := r.setClock(r.open(setter), r.clock()); err != nil {
			t.Fatal(err)
		}
		r.wantClock(profile+": set", 0)
		if status() != 0 {
			t.Errorf("%s: the clock still says it is cold", profile)
		}
		r.restart()
		r.pass(time.Hour)
		r.wantClock(profile+": an hour after a restart", 0)
	}
}

func TestTheConcentratorOfAHardenedMeterCorrectsTheClockWithinTheBound(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(readWrite)
	for i, try := range []struct {
		by      time.Duration
		allowed bool
	}{
		{61 * time.Second, false},
		{-61 * time.Second, false},
		{40 * time.Second, true},
		{-20 * time.Second, true},
		{time.Second, false},
		{-time.Second, false},
		{0, true},
	} {
		shows, _ := r.meter.Clock()
		err := r.setClock(a, shows.Add(try.by))
		if (err == nil) != try.allowed {
			t.Errorf("try %d, by %s: %v", i, try.by, err)
		}
	}
	r.wantClock("in the end", 20*time.Second)
	moves, refusals := 0, 0
	for _, c := range r.codes(logMain) {
		switch c {
		case codeClockMoved:
			moves++
		case codeClockRefused:
			refusals++
		}
	}
	if moves != 2 || refusals != 4 {
		t.Errorf("want 2 moves and 4 refusals in the main log, got %d and %d", moves, refusals)
	}
	if err := r.setClock(r.open(central), r.clock().Add(-3*time.Hour)); err != nil {
		t.Errorf("the central system: %v", err)
	}
	r.wantClock("set back by the central system", -3*time.Hour)
}

func TestACorrectionNeverGoesBackOverACapture(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.pass(19*time.Minute + 45*time.Second) // 12:30:05
	a := r.open(readWrite)
	wantAction(t, "back over 12:30", invoke(a, clockObject(), 6, dlms.Int16(-6)), dlms.ActionScopeViolated)
	if err := invoke(a, clockObject(), 6, dlms.Int16(-5)); err != nil {
		t.Errorf("back to 12:30: %v", err)
	}
}

func TestManySmallCorrectionsAreCounted(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(readWrite)
	done := 0
	for range 3 * shiftsInWindow {
		shows, _ := r.meter.Clock()
		if r.setClock(a, shows.Add(10*time.Millisecond)) == nil {
			done++
		}
	}
	if done != shiftsInWindow {
		t.Errorf("want %d corrections in a day, got %d", shiftsInWindow, done)
	}
}

func TestAMomentThatIsNoneIsNoTimeToSet(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(central)
	err := a.Set(context.Background(), ref(clockObject(), 2), dlms.DateTimeUnspecified().Octets())
	wantAccess(t, "unspecified", err, dlms.DataAccessScopeViolated)
	r.wantClock("as before", 0)
}

func TestThePublicClientSeesTheNameAndTheFloorsAndNothingElse(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for range 3 {
		r.open(readWrite)
	}
	for _, l := range []string{LinkLAN, LinkLocal} {
		a := must(client.Open(context.Background(), &conn{r: r, link: l, sap: dlms.SAPPublic, server: role.SAPServer}, client.Config{}))
		allowed := map[Object]bool{
			nameObject(): true, floorObject(setupLAN): true, floorObject(setupLocal): true, floorObject(setupIS): true,
			associationObject(): true,
		}
		for _, o := range r.kind.profile.Objects {
			_, err := a.Get(context.Background(), ref(o, 2))
			if (err == nil) != allowed[o] {
				t.Errorf("%s: %d/%s: %v", l, o.Class, o.Instance, err)
			}
		}
		floor, err := r.get(a, floorObject(setupLAN), 2).Uint()
		next := must(r.longTerm(r.keys[role.CCLAN], titleDC).Send.Next())
		if err != nil || floor > uint64(next) || floor < 6 {
			t.Errorf("want the floor below the next counter %d, got %d, %v", next, floor, err)
		}
		if unused, err := r.get(a, floorObject(setupLocal), 2).Uint(); unused != 1 || err != nil {
			t.Errorf("want floor 1 of a key that was never used, got %d, %v", unused, err)
		}
	}
}

func TestTheCommunicationLogTellsAssociationsByTheirPublishedCodes(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for _, w := range []who{readWrite, terminals} {
		if err := r.open(w).Release(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	r.openBroadcast(caster)
	r.keys[role.CCLOCALE] = must(key.GenerateUnicast(r.rand))
	if _, err := r.tryOpen(terminals); err == nil {
		t.Fatal("a wrong key opens")
	}
	want := []Code{codeReadWriteOpened, codeReadWriteClosed, codeLocalOpened, codeLocalClosed, codeBroadcastOpened, codeLocalError}
	got := r.codes(logCommunication)
	if len(got) != len(want) {
		t.Fatalf("want codes %v, got %v", want, got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("want codes %v, got %v", want, got)
		}
	}
	r.restart()
	if again := r.codes(logCommunication); len(again) != len(want) {
		t.Errorf("after a restart: %v", again)
	}
}
