// Package life tells the life of a meter's keys in words: where each version came from, who was given it, who used it
// and how often, how it was proven, and what came after it. It reads records, of the audit log or of an export of it that
// was verified, and of what devices have told of their own use. It proves nothing itself, and holds no key.
package life

import (
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

// Life is the life of all keys of one meter.
type Life struct {
	Meter dlms.SystemTitle `json:"meter"`
	// Keys are the versions, by role and number.
	Keys []Key `json:"keys"`
	// Events are those of the meter, and of no one of its keys.
	Events []Event `json:"events,omitempty"`
}

// Key is the life of one version.
type Key struct {
	role.KeyRef
	CheckValue string `json:"check_value,omitempty"`
	// Events are in the order of the record.
	Events []Event `json:"events"`
	// Uses are the associations opened under it, added up by who opened them.
	Uses []Use `json:"uses,omitempty"`
}

// Event is one thing that happened, in words.
type Event struct {
	At time.Time `json:"at"`
	// By is who did it, as the record has it: "person:NAME", "system:rotation".
	By   string `json:"by,omitempty"`
	Text string `json:"text"`
	// Alarm is set for what somebody has to look at.
	Alarm bool `json:"alarm,omitempty"`
}

// Use is how often somebody opened an association under a key.
type Use struct {
	// By is the actor in the central system, or the device that tells it in its own log.
	By string `json:"by"`
	// As is what for, or as which client.
	As string `json:"as"`
	// Told is set for what a device tells in its own log, which says what it began and not how it went.
	Told    bool     `json:"told,omitempty"`
	Grant   string   `json:"grant,omitempty"`
	LastDay dlms.Day `json:"last_day,omitzero"`
	Count   int      `json:"count"`
	// Results counts how they ended, by the word of the record: "opened", "refused", "no answer".
	Results map[string]int `json:"results,omitempty"`
	First   time.Time      `json:"first"`
	Last    time.Time      `json:"last"`
}

// Builder makes the life of one meter out of records in their order.
type Builder struct {
	meter  dlms.SystemTitle
	keys   map[role.KeyRef]*Key
	uses   map[useKey]*Use
	open   map[opened]*Use // intents whose results are to come
	events []Event
}

// useKey is what uses are added up by.
type useKey struct {
	ref       role.KeyRef
	by, as    string
	grant     string
	last      dlms.Day
	ownDevice dlms.SystemTitle
}

type opened struct {
	op  string
	ref role.KeyRef
}

// New begins the life of a meter's keys.
func New(meter dlms.SystemTitle) *Builder {
	return &Builder{meter: meter, keys: map[role.KeyRef]*Key{}, uses: map[useKey]*Use{}, open: map[opened]*Use{}}
}

// Add takes a record, of whichever meter: others are passed over.
func (b *Builder) Add(e audit.Entry) {
	for _, told := range e.Log {
		b.Told(e.Subject.Device, told)
	}
	s := e.Subject
	switch {
	case s.Meter != b.meter:
	case e.Action == imported:
		b.imported(e)
	case s.Role == 0:
		b.events = append(b.events, event(e))
	case e.Action == used:
		b.used(e)
	case e.Phase != audit.Intent: // the result says the same, and how it went
		k := b.key(role.KeyRef{Meter: s.Meter, Role: s.Role, Version: s.Version}, s.CheckValue)
		k.Events = append(k.Events, event(e))
	}
}

// Told takes an entry of a device's own log.
func (b *Builder) Told(device dlms.SystemTitle, e keylog.Entry) {
	u, ok := keylog.ParseUse(e.Text)
	if !ok || u.Ref.Meter != b.meter {
		return
	}
	b.key(u.Ref, "")
	use := b.use(useKey{ref: u.Ref, by: device.String(), as: u.As, grant: u.Grant, last: u.LastDay, ownDevice: device}, e.Time)
	use.Told = true
}

func (b *Builder) key(ref role.KeyRef, check string) *Key {
	k := b.keys[ref]
	if k == nil {
		k = &Key{KeyRef: ref, Events: []Event{}}
		b.keys[ref] = k
	}
	if check != "" {
		k.CheckValue = check
	}
	return k
}

// imported is one record for the first version of each key that came with the meter.
func (b *Builder) imported(e audit.Entry) {
	for _, r := range append([]role.Role{role.CCC}, role.Associations()...) {
		if check, came := e.Detail[r.String()]; came {
			k := b.key(role.KeyRef{Meter: b.meter, Role: r, Version: 1}, check)
			k.Events = append(k.Events, event(e))
		}
	}
}

// used adds up intents, and what became of them.
func (b *Builder) used(e audit.Entry) {
	ref := role.KeyRef{Meter: b.meter, Role: e.Subject.Role, Version: e.Subject.Version}
	b.key(ref, e.Subject.CheckValue)
	id := opened{e.Op, ref}
	if e.Phase == audit.Intent {
		b.open[id] = b.use(useKey{ref: ref, by: string(e.Actor), as: e.Outcome, ownDevice: e.Subject.Device}, e.At)
		return
	}
	u := b.open[id]
	if u == nil { // refused before it began: it stands alone
		u = b.use(useKey{ref: ref, by: string(e.Actor), as: "nothing", ownDevice: e.Subject.Device}, e.At)
	}
	delete(b.open, id)
	if u.Results == nil {
		u.Results = map[string]int{}
	}
	word, _, _ := strings.Cut(e.Outcome, ":")
	u.Results[word]++
}

func (b *Builder) use(id useKey, at time.Time) *Use {
	u := b.uses[id]
	if u == nil {
		u = &Use{By: id.by, As: id.as, Grant: id.grant, LastDay: id.last, First: at}
		b.uses[id] = u
	}
	u.Count++
	if at.Before(u.First) {
		u.First = at
	}
	if at.After(u.Last) {
		u.Last = at
	}
	return u
}

// Life returns what was built.
func (b *Builder) Life() Life {
	out := Life{Meter: b.meter, Keys: []Key{}, Events: b.events}
	for id, u := range b.uses {
		k := b.keys[id.ref]
		k.Uses = append(k.Uses, *u)
	}
	for _, k := range b.keys {
		slices.SortFunc(k.Uses, func(x, y Use) int {
			if c := x.First.Compare(y.First); c != 0 {
				return c
			}
			return strings.Compare(x.By+x.As+x.Grant+x.LastDay.String(), y.By+y.As+y.Grant+y.LastDay.String())
		})
		out.Keys = append(out.Keys, *k)
	}
	slices.SortFunc(out.Keys, func(x, y Key) int {
		if x.Role != y.Role {
			return int(x.Role) - int(y.Role)
		}
		return int(int64(x.Version) - int64(y.Version))
	})
	return out
}
