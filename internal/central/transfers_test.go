package central

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// stands puts the open changes of a reason at a step.
func (g *granting) stands(reason string, step rotation.Step) {
	g.t.Helper()
	all, err := g.is.store.Changes().ByReason(g.t.Context(), reason)
	g.must(err)
	for i := range all {
		all[i].Step, all[i].To = step, 2
	}
	g.must(g.is.store.Changes().Save(g.t.Context(), all))
}

// given gives meters to another head-end.
func (g *granting) given(unproven bool, meters ...dlms.SystemTitle) error {
	g.t.Helper()
	to, err := vaults.Key(1)
	g.must(err)
	_, err = g.is.ExportMeters(g.t.Context(), api.MeterExport{
		To: to.Public(), Meters: meters, File: filepath.Join(g.t.TempDir(), "file"), Unproven: unproven,
	})
	return err
}

func TestAMeterBetweenTwoKeysIsGivenAwayOnlyWhereThatIsWanted(t *testing.T) {
	g := newGranting(t)
	a, err := g.is.Rotate(t.Context(), api.Rotation{Meters: []dlms.SystemTitle{g.hardened}, Roles: []role.Role{role.CCLAN}, Reason: "yearly"})
	g.must(err)
	if a.Asked != 1 {
		t.Fatalf("asked for %d", a.Asked)
	}
	for _, step := range []rotation.Step{rotation.StepSent, rotation.StepSearching} {
		g.stands("yearly", step)
		err := g.given(false, g.linky, g.hardened)
		if !errors.Is(err, ErrUnproven) || !strings.Contains(err.Error(), "1 meters, "+g.hardened.String()) {
			t.Errorf("%s: want ErrUnproven of the one, got %v", step, err)
		}
		g.must(g.is.stillHere(t.Context(), g.meters...))
	}
	g.must(g.given(true, g.hardened))
	if n, _, err := g.is.store.Changes().Open(t.Context()); err != nil || n != 0 {
		t.Errorf("%d changes are open, %v", n, err)
	}
}

func TestAMeterThatWasGivenAwayIsWorkedNoMoreAndSaysWhy(t *testing.T) {
	g := newGranting(t)
	made := g.grant(g.now.AddDate(0, 0, 1), g.linky, g.hardened)
	for _, step := range []rotation.Step{rotation.StepWanted, rotation.StepGenerated} { // nothing has left the house
		_, err := g.is.Rotate(t.Context(), api.Rotation{Meters: []dlms.SystemTitle{g.linky}, Roles: []role.Role{role.CCLAN}, Reason: string(step)})
		g.must(err)
	}
	g.must(g.given(false, g.linky))
	ctx, only := t.Context(), []dlms.SystemTitle{g.linky}
	for what, do := range map[string]func() error{
		"a key change": func() error { _, err := g.is.Rotate(ctx, api.Rotation{Meters: only, Reason: "x"}); return err },
		"a campaign": func() error {
			_, err := g.is.StartCampaign(ctx, api.CampaignRequest{Reason: "x", Selection: rotation.Selection{Meters: only}})
			return err
		},
		"a grant": func() error {
			_, err := g.is.Grant(ctx, api.GrantRequest{Terminal: g.terminal, Meters: g.meters, NotBefore: g.now, NotAfter: g.now.AddDate(0, 0, 1)})
			return err
		},
		"an assignment":     func() error { return g.is.Assign(ctx, api.Assignment{Concentrator: dcTitle, Meters: only}) },
		"a breaker":         func() error { return g.is.Breaker(ctx, api.Breaker{Meter: g.linky, Op: "open"}) },
		"a look at it":      func() error { _, err := g.is.BreakerStatus(ctx, g.linky); return err },
		"a clock":           func() error { return g.is.SetClock(ctx, g.linky) },
		"to somebody else ": func() error { return g.elsewhere() },
	} {
		if err := do(); !errors.Is(err, vault.ErrExported) {
			t.Errorf("%s: want ErrExported, got %v", what, err)
		}
	}
	live, err := g.is.fleet.Grants(ctx, fleet.GrantLive)
	g.must(err)
	if len(live) != 1 || live[0].ID != made.ID {
		t.Errorf("want the one grant from before, got %+v", live)
	}
	// What goes to the whole fleet goes to those that are left.
	if a, err := g.is.Rotate(ctx, api.Rotation{Reason: "all", Roles: []role.Role{role.CCLAN}}); err != nil || a.Selected != 1 {
		t.Errorf("of the whole fleet %d keys were selected, %v", a.Selected, err)
	}
	// A grant that ends asks for nothing there, and waits for nothing.
	g.now = g.now.AddDate(0, 0, 3)
	g.want("after its end", made, fleet.GrantClosed)
}

// elsewhere gives the meter to a third head-end.
func (g *granting) elsewhere() error {
	to, err := vaults.Key(2)
	g.must(err)
	file := filepath.Join(g.t.TempDir(), "file")
	_, err = g.is.ExportMeters(g.t.Context(), api.MeterExport{To: to.Public(), Meters: []dlms.SystemTitle{g.linky}, File: file})
	if _, left := os.Stat(file); left == nil {
		g.t.Error("a file was left behind")
	}
	return err
}
