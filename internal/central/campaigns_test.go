package central

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

func TestACampaignIsRefusedWhereItCannotBeMeantSo(t *testing.T) {
	is := opened(t)
	two := -2
	for name, q := range map[string]api.CampaignRequest{
		"without a reason":        {},
		"of an unknown meter":     {Reason: "r", Selection: rotation.Selection{Meters: []dlms.SystemTitle{{9}}}},
		"of a device as meter":    {Reason: "r", Selection: rotation.Selection{Meters: []dlms.SystemTitle{dcTitle}}},
		"of no concentrator":      {Reason: "r", Selection: rotation.Selection{Concentrator: dlms.SystemTitle{9}}},
		"of an unknown holder":    {Reason: "r", Selection: rotation.Selection{Holder: dlms.SystemTitle{9}}},
		"of the master key":       {Reason: "r", Roles: []role.Role{role.CCC}},
		"with a negative limit":   {Reason: "r", PerConcentrator: -1},
		"with a budget below any": {Reason: "r", Budget: &two},
		"older than the future":   {Reason: "r", OlderThan: -time.Hour},
	} {
		if _, err := is.StartCampaign(t.Context(), q); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	if all, err := is.Campaigns(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("want none, got %+v, %v", all, err)
	}
	if _, err := is.Campaign(t.Context(), 1); !errors.Is(err, rotation.ErrNoCampaign) {
		t.Errorf("want ErrNoCampaign, got %v", err)
	}
}

func TestACampaignIsOnTheRecordAndGoesOnAfterARestart(t *testing.T) {
	is := opened(t)
	p, err := is.StartCampaign(t.Context(), api.CampaignRequest{Reason: "quarter 1", Name: "q1"})
	if err != nil || p.State != rotation.CampaignRunning || p.Budget != rotation.DefaultBudget {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err = is.SteerCampaign(t.Context(), api.CampaignSteering{ID: p.ID, How: rotation.Pause}); err != nil || p.State != rotation.CampaignPaused {
		t.Fatalf("got %+v, %v", p, err)
	}
	cfg, deps := is.cfg, is.deps
	if err := is.Close(); err != nil {
		t.Fatal(err)
	}
	if is, err = Open(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	defer is.Close()
	if p, err = is.SteerCampaign(t.Context(), api.CampaignSteering{ID: p.ID, How: rotation.Resume}); err != nil || p.State != rotation.CampaignRunning {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := is.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err = is.Campaign(t.Context(), p.ID); err != nil || p.State != rotation.CampaignDone { // there is no meter
		t.Errorf("got %+v, %v", p, err)
	}
	log := exported(t, is)
	if n, m := strings.Count(log, string(actionCampaign)), strings.Count(log, string(actionSteered)); n != 1 || m != 2 {
		t.Errorf("want start, pause and resume on record, got %d and %d", n, m)
	}
}

func TestARevokedTerminalLosesItsRights(t *testing.T) {
	is := opened(t)
	terminal := enrolled(t, is, enrol.Terminal, 2)
	for _, q := range []api.Revocation{{Terminal: dcTitle, Why: "lost"}, {Terminal: terminal}} {
		if _, err := is.RevokeTerminal(t.Context(), q); err == nil {
			t.Errorf("%+v: revoked", q)
		}
	}
	for range 2 {
		if r, err := is.RevokeTerminal(t.Context(), api.Revocation{Terminal: terminal, Why: "lost"}); err != nil || r.Keys != 0 || r.Grants != 0 {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if d, err := is.fleet.Device(t.Context(), terminal); err != nil || d.State != fleet.DeviceRevoked {
		t.Errorf("got %+v, %v", d, err)
	}
	if e, err := is.Exposure(t.Context(), rotation.ExposureQuery{Terminal: terminal}); err != nil || len(e.Holdings) != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := is.Exposure(t.Context(), rotation.ExposureQuery{Terminal: dcTitle}); err == nil {
		t.Error("the exposure of a concentrator as terminal")
	}
}
