package sim

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/internal/meter"
)

// odds is a fault and how often it comes: one time in that many.
type odds struct {
	fault string
	one   int
}

// lineFaults are what the power line does to one exchange. At most one comes at a time.
var lineFaults = []odds{
	{"request lost", 60},
	{"request late", 80},
	{"request repeated", 80},
	{"request altered", 120},
	{"old request replayed before it", 40},
	{"refusal forged", 120},
	{"answer lost", 50},
	{"answer altered", 120},
	{"counter forged", 80},
	{"power fails at a write", 60},
}

// wanFaults are what the WAN does to one order.
var wanFaults = []odds{
	{"order lost", 60},
	{"order late", 60},
	{"order repeated", 60},
	{"reply lost", 50},
	{"concentrator dies before the order", 150},
	{"concentrator dies after the order", 150},
	{"central system dies before the order", 150},
	{"central system dies after the order", 100},
}

// lies are what a dishonest concentrator does to one order.
var lies = []odds{
	{"lie: done, and it was not", 12},
	{"lie: failed, and it was done", 12},
	{"lie: another meter's answer", 20},
	{"lie: held back past its deadline", 20},
}

// keyFaults are what the firmware of a meter does wrong with a key that it was sent.
var keyFaults = []odds{
	{keyDenied, 30},
	{keyFeigned, 30},
}

const (
	keyDenied  = "a meter answers NOT_OK to a key that it took"
	keyFeigned = "a meter answers success to a key that it did not take"
)

// keyFault draws what a meter does with a key that it was just sent.
func (w *World) keyFault() meter.KeyFault {
	switch w.draw(keyFaults) {
	case keyDenied:
		return meter.KeyDenied
	case keyFeigned:
		return meter.KeyFeigned
	}
	return meter.KeyHonest
}

// draw decides which fault of a list comes, if any, and counts it.
func (w *World) draw(list []odds) string {
	if w.calm {
		return ""
	}
	for _, o := range list {
		if w.one(o.one * w.mild) {
			w.fault(o.fault)
			return o.fault
		}
	}
	return ""
}

// fault counts a fault.
func (w *World) fault(what string) {
	w.faults[what]++
	w.note("fault: %s", what)
}

// sleep lets time pass, between least and most, or until ctx ends.
func (w *World) sleep(ctx context.Context, least, most time.Duration) {
	t := time.NewTimer(least + time.Duration(w.Int64N(int64(most-least))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
