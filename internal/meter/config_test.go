package meter

import (
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/config"
)

func TestTheConfigurationOfAFleetIsReadStrictly(t *testing.T) {
	var c Config
	err := config.Parse([]byte(`
profile: hardened
factory: meters.age
factory_identity: factory.txt
data: ./data
first: 25
count: 25
lan_listen: 127.0.0.1:41000
local_listen: 127.0.0.1:42000
load_curve: house.csv
installed_at: 2006-12-17T00:00:00+01:00
clock: {start: 2006-12-18T06:00:00+01:00, cold: [3], offset: -20s, wrong: [1, 2]}
spread: {percent: 30, shift: 1h}
press_after: 2s
utc_offset: -3h30m
`), &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.complete(); err != nil {
		t.Error(err)
	}
	if !c.InstalledAt.Equal(installed()) || c.Clock.Offset != -20*time.Second || len(c.Clock.Wrong) != 2 ||
		c.Spread.Shift != time.Hour || c.PressAfter != 2*time.Second || c.First != 25 {
		t.Errorf("got %+v", c)
	}
	if got := time.Date(2026, 1, 1, 0, 0, 0, 0, c.zone()).UTC().Hour(); got != 3 {
		t.Errorf("midnight there is %d o'clock", got)
	}
	odd := 90 * time.Second
	c.UTCOffset = &odd
	if err := c.complete(); err == nil || !strings.Contains(err.Error(), "utc_offset") {
		t.Errorf("want an odd offset refused, got %v", err)
	}
	if err := config.Parse([]byte("profil: hardened\n"), &c); err == nil || !strings.Contains(err.Error(), "profil") {
		t.Errorf("want an error that names the field, got %v", err)
	}
}

func TestThePortsOfAFleetFollowEachOther(t *testing.T) {
	for i, want := range map[int]string{0: "h:100", 7: "h:107"} {
		if got := must(portOf("h:100", i)); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
	if got := must(portOf("h:0", 7)); got != "h:0" {
		t.Errorf("want any port, got %s", got)
	}
}

func TestCopiesStayWithinTheirSpread(t *testing.T) {
	c := SpreadConfig{Percent: 40, Shift: time.Hour}
	if scale, shift := c.copy(0); scale != 1000 || shift != 0 {
		t.Errorf("the first meter: %d, %s", scale, shift)
	}
	sum := 0
	for i := 1; i <= 1000; i++ {
		scale, shift := c.copy(i)
		if scale < 600 || scale > 1400 || shift < -time.Hour || shift > time.Hour {
			t.Fatalf("meter %d: %d per mille, %s", i, scale, shift)
		}
		sum += scale
	}
	if mean := sum / 1000; mean < 990 || mean > 1010 {
		t.Errorf("want a mean of about 1000, got %d", mean)
	}
}
