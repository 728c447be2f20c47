package central

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// granting is a central system with meters of both profiles under a concentrator, and a terminal.
type granting struct {
	t               *testing.T
	is              *IS
	now             time.Time
	terminal        dlms.SystemTitle
	hardened, linky dlms.SystemTitle
	meters          []dlms.SystemTitle
}

func newGranting(t *testing.T, change ...func(*Config)) *granting {
	t.Helper()
	g := &granting{t: t, now: time.Date(2026, 11, 30, 9, 0, 0, 0, role.MetersZone())}
	g.is = openedAt(t, func() time.Time { return g.now }, change...)
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	g.must(err)
	g.must(g.is.AddMaker(t.Context(), api.MakerRequest{Key: maker.Public(), Fingerprint: maker.Public().Fingerprint()}))
	for i, profile := range []string{shipment.ProfileHardened, shipment.ProfileLinky} {
		rows, err := shipment.Generate(rand.Reader, "MSL", 1, profile, uint64(i+1))
		g.must(err)
		var b bytes.Buffer
		g.must(shipment.Write(&b, rand.Reader, maker, profile, rows, g.is.vault.Transport()))
		if r, err := g.is.ImportShipment(t.Context(), &b); err != nil || !r.Clean() {
			t.Fatal(r, err)
		}
		g.meters = append(g.meters, rows[0].Title)
	}
	g.hardened, g.linky = g.meters[0], g.meters[1]
	g.must(g.is.Assign(t.Context(), api.Assignment{Concentrator: dcTitle, Meters: g.meters}))
	g.terminal = enrolled(t, g.is, enrol.Terminal, 7)
	return g
}

func (g *granting) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *granting) grant(until time.Time, meters ...dlms.SystemTitle) enrol.Grant {
	g.t.Helper()
	made, err := g.is.Grant(g.t.Context(), api.GrantRequest{Terminal: g.terminal, Meters: meters, NotBefore: g.now, NotAfter: until})
	g.must(err)
	return made
}

// settled is the state of a grant after a look at all, and which meters' keys it has had changed.
func (g *granting) settled(of enrol.Grant) (state string, asked []dlms.SystemTitle) {
	g.t.Helper()
	g.must(g.is.settleGrants(g.t.Context()))
	for _, s := range []string{fleet.GrantLive, fleet.GrantEnded, fleet.GrantClosed} {
		all, err := g.is.fleet.Grants(g.t.Context(), s)
		g.must(err)
		for _, one := range all {
			if one.ID == of.ID {
				state = s
			}
		}
	}
	changes, err := g.is.store.Changes().ByReason(g.t.Context(), "grant "+of.ID+" ended")
	g.must(err)
	for _, c := range changes {
		asked = append(asked, c.Meter)
	}
	return state, asked
}

func (g *granting) want(what string, of enrol.Grant, state string, asked ...dlms.SystemTitle) {
	g.t.Helper()
	got, keys := g.settled(of)
	if got != state || len(keys) != len(asked) || len(asked) > 0 && keys[0] != asked[0] {
		g.t.Errorf("%s: want it %s and %v changed, got it %s and %v", what, state, asked, got, keys)
	}
}

func (g *granting) exposed(what string, want ...string) {
	g.t.Helper()
	e, err := g.is.Exposure(g.t.Context(), rotation.ExposureQuery{Terminal: g.terminal})
	g.must(err)
	if len(e.Holdings) != len(want) {
		g.t.Errorf("%s: want %v exposed, got %+v", what, want, e.Holdings)
		return
	}
	for i, h := range e.Holdings {
		if got := h.Why + " until " + h.LastDay.String(); got != want[i] {
			g.t.Errorf("%s: want %s, got %s", what, want[i], got)
		}
	}
}

func TestAGrantOfHardenedMetersEndsWithItsDayAndChangesNoKey(t *testing.T) {
	g := newGranting(t)
	made := g.grant(g.now.Add(2*time.Hour), g.hardened)
	g.want("while it lasts", made, fleet.GrantLive)
	g.exposed("while it lasts", rotation.WhyGrant+" until 2026-11-30")
	g.now = g.now.Add(3 * time.Hour)
	g.want("past its time, on its last day", made, fleet.GrantEnded)
	g.exposed("past its time, on its last day", rotation.WhyEnded+" until 2026-11-30")
	g.now = g.now.AddDate(0, 0, 1)
	g.want("the day after", made, fleet.GrantClosed)
	g.exposed("the day after")
}

func TestAGrantThatIsEndedEarlyChangesTheKeyOfEveryMeter(t *testing.T) {
	g := newGranting(t)
	made := g.grant(g.now.AddDate(0, 0, 9), g.hardened)
	asked, err := g.is.EndGrant(t.Context(), made.ID)
	if err != nil || asked.Asked != 1 {
		t.Fatalf("got %+v, %v", asked, err)
	}
	g.want("ended early", made, fleet.GrantEnded, g.hardened)
	g.exposed("ended early", rotation.WhyEnded+" until 2026-12-09")
	g.now = g.now.AddDate(0, 0, 20)
	g.exposed("when its day has passed all the same")
	g.want("it is closed by the proof of the new key alone", made, fleet.GrantEnded, g.hardened)
}

func TestAGrantOfALinkyMeterChangesItsKeyWhenItEnds(t *testing.T) {
	g := newGranting(t)
	made := g.grant(g.now.Add(2*time.Hour), g.hardened, g.linky)
	g.now = g.now.Add(3 * time.Hour)
	g.want("past its time", made, fleet.GrantEnded, g.linky)
	g.now = g.now.AddDate(0, 0, 5)
	g.exposed("days later", rotation.WhyEnded+" until 0000-00-00")
	g.want("days later", made, fleet.GrantEnded, g.linky)
}

func TestALostTerminalsGrantsEndEarly(t *testing.T) {
	g := newGranting(t)
	made := g.grant(g.now.AddDate(0, 0, 9), g.hardened)
	r, err := g.is.RevokeTerminal(t.Context(), api.Revocation{Terminal: g.terminal, Why: "lost"})
	if err != nil || r.Grants != 1 || r.Keys != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	g.want("revoked", made, fleet.GrantEnded, g.hardened)
}

func TestTheLastDayEndsAtMidnightOfTheFleetsOwnZone(t *testing.T) {
	for hours, c := range map[int]struct {
		until time.Time
		last  string
	}{
		3:  {time.Date(2026, 11, 30, 21, 30, 0, 0, time.UTC), "2026-12-01"}, // half past midnight there, late evening in UTC+1
		-9: {time.Date(2026, 12, 1, 8, 30, 0, 0, time.UTC), "2026-11-30"},   // half an hour before midnight there
	} {
		zone := time.FixedZone("", hours*3600)
		g := newGranting(t, func(cfg *Config) { o := time.Duration(hours) * time.Hour; cfg.UTCOffset = &o })
		made := g.grant(c.until, g.hardened)
		if got := made.Keys[0].LastDay.String(); got != c.last {
			t.Errorf("UTC%+d: want the last day %s, got %s", hours, c.last, got)
		}
		last, err := time.ParseInLocation(time.DateOnly, c.last, zone)
		g.must(err)
		midnight := last.AddDate(0, 0, 1)
		g.exposed("before midnight", rotation.WhyGrant+" until "+c.last)
		g.now = midnight.Add(-time.Second)
		g.want("a second before its day ends", made, fleet.GrantEnded)
		g.exposed("a second before its day ends", rotation.WhyEnded+" until "+c.last)
		g.now = midnight
		g.exposed("at midnight")
		g.want("at midnight", made, fleet.GrantClosed)
	}
}

func TestAnOffsetOrALifeThatIsNoneIsRefused(t *testing.T) {
	odd, far := time.Hour+time.Second, 15*time.Hour
	for name, c := range map[string]Config{
		"odd": {UTCOffset: &odd}, "far": {UTCOffset: &far}, "negative": {LongestGrant: -time.Hour},
	} {
		c.Data, c.SystemTitle = t.TempDir(), "4D534C1500000001"
		if _, err := Init(t.Context(), c, Deps{Now: time.Now, Rand: rand.Reader}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAGrantBeyondTheLongestLifeIsRefused(t *testing.T) {
	for longest, most := range map[time.Duration]time.Duration{0: 31 * 24 * time.Hour, 8 * time.Hour: 8 * time.Hour} {
		g := newGranting(t, func(c *Config) { c.LongestGrant = longest })
		for _, q := range []api.GrantRequest{
			{NotBefore: g.now, NotAfter: g.now.Add(most + time.Second)},
			{NotBefore: g.now.Add(most), NotAfter: g.now.Add(most + time.Hour)}, // a short one, long ahead: its key is one until then
		} {
			q.Terminal, q.Meters = g.terminal, []dlms.SystemTitle{g.hardened}
			if _, err := g.is.Grant(t.Context(), q); !errors.Is(err, fleet.ErrLong) || !strings.Contains(err.Error(), "longest_grant") {
				t.Errorf("%s: want ErrLong, got %v", longest, err)
			}
		}
		g.grant(g.now.Add(most), g.meters...)
	}
}

// renewed brings a new CC_LOCALE of a meter into force.
func (g *granting) renewed(meter dlms.SystemTitle) {
	g.t.Helper()
	made, err := g.is.vault.Generate(g.t.Context(), actorIS, []vault.Target{{Meter: meter, Role: role.CCLOCALE}})
	g.must(err)
	refs := []role.KeyRef{made[0].Info.Ref}
	g.must(g.is.vault.MarkSent(g.t.Context(), actorIS, refs))
	g.must(g.is.vault.MarkActive(g.t.Context(), actorIS, refs, "test"))
}

// full checks that a meter has no room for a terminal until a day.
func (g *granting) full(what string, terminal, meter dlms.SystemTitle, days int) {
	g.t.Helper()
	q := api.GrantRequest{Terminal: terminal, Meters: g.meters, NotBefore: g.now, NotAfter: g.now.AddDate(0, 0, days).Add(time.Hour)}
	if _, err := g.is.Grant(g.t.Context(), q); !errors.Is(err, fleet.ErrFull) || !strings.Contains(err.Error(), meter.String()) {
		g.t.Errorf("%s: want ErrFull of %s, got %v", what, meter, err)
	}
}

func TestANinthTerminalOrDayIsRefusedBeforeAnybodyStandsBeforeTheMeter(t *testing.T) {
	g := newGranting(t)
	for day := range role.MostLent { // the meter of profile linky knows one terminal, and no days
		g.grant(g.now.AddDate(0, 0, day).Add(time.Hour), g.meters...)
	}
	other := enrolled(t, g.is, enrol.Terminal, 8)
	g.full("a ninth day", g.terminal, g.hardened, role.MostLent)
	g.full("another terminal on one of the days", other, g.hardened, 0)
	g.grant(g.now.AddDate(0, 0, 3), g.hardened) // another grant for one of the days is no other key

	live, err := g.is.fleet.Grants(t.Context(), fleet.GrantLive)
	g.must(err)
	if len(live) != role.MostLent+1 {
		t.Fatalf("%d grants are live", len(live))
	}
	_, err = g.is.EndGrant(t.Context(), live[0].ID) // the meter knows nothing of it, and the terminal has its key
	g.must(err)
	g.full("one was ended", g.terminal, g.hardened, role.MostLent)
	g.now = g.now.AddDate(0, 0, 1) // the first day has passed
	g.grant(g.now.AddDate(0, 0, role.MostLent-1), g.hardened)
	g.full("again", g.terminal, g.hardened, role.MostLent)
	g.renewed(g.hardened)
	g.grant(g.now.AddDate(0, 0, role.MostLent), g.hardened)
}

func TestANinthTerminalOfOneKeyIsRefused(t *testing.T) {
	g := newGranting(t)
	for n := range byte(role.MostLent - 1) {
		q := api.GrantRequest{Terminal: enrolled(t, g.is, enrol.Terminal, 20+n), Meters: []dlms.SystemTitle{g.linky}, NotBefore: g.now, NotAfter: g.now.AddDate(0, 0, 1)}
		_, err := g.is.Grant(t.Context(), q)
		g.must(err)
	}
	g.grant(g.now.AddDate(0, 0, 2), g.linky)
	g.grant(g.now.AddDate(0, 0, 5), g.linky) // the same terminal
	ninth := enrolled(t, g.is, enrol.Terminal, 40)
	g.full("a ninth terminal", ninth, g.linky, 1)
	g.now = g.now.AddDate(0, 0, 9) // no day frees a place under the key itself
	g.full("later", ninth, g.linky, 1)
	g.renewed(g.linky)
	g.grant(g.now.AddDate(0, 0, 1), g.linky)
}
