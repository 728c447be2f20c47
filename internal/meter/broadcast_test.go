package meter

import (
	"context"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/internal/role"
)

// openBroadcast hands a new broadcast key to the meter.
func (r *rig) openBroadcast(w who) *client.Broadcast {
	r.t.Helper()
	b := must(client.NewBroadcast(client.BroadcastConfig{Title: w.title, Rand: r.rand, WrapAEAD: r.oracle.Wrap}))
	cfg := r.config(w)
	cfg.Dedicated, cfg.Broadcast = false, b
	c := &conn{r: r, link: w.link, sap: w.sap, server: role.SAPServer}
	if _, err := client.Open(context.Background(), c, cfg); err != nil {
		r.t.Fatalf("open broadcast: %v", err)
	}
	return b
}

// cast sends an APDU to all stations.
func (r *rig) cast(b []byte) {
	r.t.Helper()
	answer := r.meter.Server().Handle(context.Background(), LinkLAN,
		link.Request{Client: role.SAPBroadcast, Server: dlms.SAPAllStations, APDU: b})
	if answer != nil {
		r.t.Errorf("a broadcast was answered: %X", answer)
	}
}

func (r *rig) wantClock(what string, off time.Duration) {
	r.t.Helper()
	if got, _ := r.meter.Clock(); !got.Equal(r.clock().Add(off)) {
		r.t.Errorf("%s: want the clock off by %s, got %s", what, off, got.Sub(r.clock()))
	}
}

func TestABroadcastCorrectsTheClockWithinTheBoundAndDoesNothingElse(t *testing.T) {
	for _, profile := range []string{ProfileLinky, ProfileHardened} {
		r := newRig(t, profile, func(r *rig) { r.birth.Offset = -25 * time.Second })
		r.wantClock("at birth", -25*time.Second)
		b := r.openBroadcast(caster)
		right := dlms.DateTimeOf(r.clock(), 0).Octets()
		set := must(b.AppendSet(nil, apdu.Attribute{Ref: ref(clockObject(), 2)}, right))
		r.cast(set)
		r.wantClock("set by broadcast", 0)
		r.pass(10 * time.Second)
		r.cast(set)
		r.wantClock("the broadcast again", 0)
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(35))))
		r.wantClock("35 s more, 60 in all", 35*time.Second)
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(1))))
		r.wantClock("1 s too much", 35*time.Second)
		r.restart()
		b = r.openBroadcast(caster)
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(1))))
		r.wantClock("1 s too much after a restart", 35*time.Second)
		r.pass(24 * time.Hour)
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(-35))))
		r.wantClock("a day later, and its association too old", 35*time.Second)
		b = r.openBroadcast(caster)
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(-35))))
		r.wantClock("a day later", 0)

		r.cast(must(b.AppendAction(nil, method(breakerObject(), 1), dlms.Int8(0))))
		if got := must(r.meter.Breaker()); got.String() != "connected" {
			t.Errorf("%s: a broadcast moved the breaker: %s", profile, got)
		}
	}
}

func TestBothClientsOfTheLANInterleaveOnOneMeter(t *testing.T) {
	r := newRig(t, ProfileHardened)
	reader, is := r.open(readWrite), r.open(central)
	b := r.openBroadcast(caster)
	local := r.open(terminals)
	for range 5 {
		for _, a := range []*client.Association{reader, is, local} {
			r.get(a, clockObject(), 2)
		}
		r.cast(must(b.AppendAction(nil, method(clockObject(), 6), dlms.Int16(1))))
	}
	r.wantClock("after five casts", 5*time.Second)
	if open, half := r.meter.Server().Associations(); open != 4 || half != 0 {
		t.Errorf("want 4 associations, got %d and %d half-open", open, half)
	}
}
