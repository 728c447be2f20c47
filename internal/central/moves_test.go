package central

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/enrol"
)

// enrolled adds a device.
func enrolled(t *testing.T, is *IS, kind enrol.Kind, n byte) dlms.SystemTitle {
	t.Helper()
	title := dlms.SystemTitle{'M', 'S', 'L', 0xC0, 0, 0, 0, n}
	id, err := enrol.NewIdentity(kind, title, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := id.File(is.vault.Transport(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := is.Enrol(t.Context(), api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	return title
}

func TestEvictRefusesASuccessorThatIsNone(t *testing.T) {
	is := opened(t)
	terminal, gone := enrolled(t, is, enrol.Terminal, 2), enrolled(t, is, enrol.Concentrator, 3)
	if err := is.fleet.Revoke(t.Context(), actorOwner, gone, "lost"); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]api.Eviction{
		"without a reason":   {Concentrator: dcTitle, Successor: gone},
		"itself":             {Concentrator: dcTitle, Successor: dcTitle, Why: "stolen"},
		"a terminal":         {Concentrator: dcTitle, Successor: terminal, Why: "stolen"},
		"a revoked one":      {Concentrator: dcTitle, Successor: gone, Why: "stolen"},
		"an unknown one":     {Concentrator: dcTitle, Successor: dlms.SystemTitle{9}, Why: "stolen"},
		"of a terminal":      {Concentrator: terminal, Successor: dcTitle, Why: "stolen"},
		"of an unknown one ": {Concentrator: dlms.SystemTitle{9}, Successor: dcTitle, Why: "stolen"},
	} {
		if _, err := is.Evict(t.Context(), e); err == nil {
			t.Errorf("%s: evicted", name)
		}
	}
	if d, err := is.fleet.Device(t.Context(), dcTitle); err != nil || d.State != fleet.DeviceEnrolled {
		t.Errorf("a refused eviction took the rights of %+v, %v", d, err)
	}
}

func TestLaw7AnEvictedConcentratorIsNotHeardAnyMoreAndNoKeyIsSealedToIt(t *testing.T) {
	is := opened(t)
	successor := enrolled(t, is, enrol.Concentrator, 2)
	hello := bus.Up{Hello: &bus.Hello{Epoch: 1}}
	if err := is.up(t.Context(), dcTitle, hello); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again after a lost answer
		if _, err := is.Evict(t.Context(), api.Eviction{Concentrator: dcTitle, Successor: successor, Why: "stolen"}); err != nil {
			t.Fatal(err)
		}
	}
	hello.Hello.Epoch++
	if err := is.up(t.Context(), dcTitle, hello); !errors.Is(err, errRevoked) {
		t.Errorf("want what it tells refused, got %v", err)
	}
	if _, err := is.Provision(t.Context(), dcTitle); !errors.Is(err, errRevoked) {
		t.Errorf("want keys refused, got %v", err)
	}
	if err := is.Assign(t.Context(), api.Assignment{Concentrator: dcTitle}); err != nil {
		t.Errorf("no meters: %v", err)
	}
	if n := strings.Count(exported(t, is), string(fleet.ActionRevoked)); n != 1 {
		t.Errorf("want the eviction on record once, got %d", n)
	}
	// A process that starts later knows it before it has heard anybody.
	cfg := is.cfg
	if err := is.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(t.Context(), cfg, is.deps)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	hello.Hello.Epoch++
	if err := next.up(t.Context(), dcTitle, hello); !errors.Is(err, errRevoked) {
		t.Errorf("after a restart: want what it tells refused, got %v", err)
	}
}

func TestWhoHasGreetedAndIsProvisionedIsNotWelcomedOnceMore(t *testing.T) {
	is := opened(t)
	if err := is.up(t.Context(), dcTitle, bus.Up{Hello: &bus.Hello{Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := is.Provision(over, dcTitle); err == nil {
		t.Fatal("want what has no time left to fail")
	}
	if _, waits := is.greeted.Load(dcTitle); !waits {
		t.Error("want the greeting to wait where it was not answered")
	}
	if _, err := is.Provision(t.Context(), dcTitle); err != nil {
		t.Fatal(err)
	}
	if _, waits := is.greeted.Load(dcTitle); waits {
		t.Error("want no second welcome")
	}
}
