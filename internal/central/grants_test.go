package central

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
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

func newGranting(t *testing.T) *granting {
	t.Helper()
	g := &granting{t: t, now: time.Date(2026, 11, 30, 9, 0, 0, 0, role.MetersZone())}
	g.is = openedAt(t, func() time.Time { return g.now })
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
