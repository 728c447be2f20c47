// Package defence names the defences of the system that can be taken away, one by one, to see what falls without them.
//
// The zero Set takes nothing away. Only the simulation and its tests make another one: no configuration file, flag or
// message reaches it, and the layering test holds that nobody else does.
package defence

import (
	"slices"
	"strings"
)

// Set is a set of defences that are switched off.
type Set uint16

// The defences.
const (
	// DurableBeforeSend: a version is marked sent, durably, before it can reach its meter.
	DurableBeforeSend Set = 1 << iota
	// Search: a meter that answers under no expected key is searched over every version ever sent.
	Search
	// Fencing: a write of a step carries the token of its lease, and a stale one is refused.
	Fencing
	// CounterReservation: counters of long-term keys are reserved durably before use.
	CounterReservation
	// Journal: sealed keys and counter ceilings are on a second durable target before they leave.
	Journal
	// Fingerprints: a meter refuses every key that it ever held.
	Fingerprints
	// ClosingOldAssociations: a key change closes what was opened under the replaced key.
	ClosingOldAssociations
	// AuthenticateThenCount: a receive floor moves only after the tag has verified.
	AuthenticateThenCount
)

var names = []string{
	"durable-before-send", "search", "fencing", "counter-reservation", "journal", "fingerprints",
	"closing-old-associations", "authenticate-then-count",
}

// All lists every defence, each as a set of its own.
func All() []Set {
	out := make([]Set, len(names))
	for i := range out {
		out[i] = 1 << i
	}
	return out
}

// Off reports whether d is switched off.
func (s Set) Off(d Set) bool { return s&d != 0 }

// String lists the names of what is off, "none" for nothing.
func (s Set) String() string {
	var out []string
	for i, n := range names {
		if s.Off(1 << i) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ",")
}

// Parse reads names as String writes them.
func Parse(list string) (s Set, ok bool) {
	if list == "none" || list == "" {
		return 0, true
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return 0, false
		}
		s |= 1 << i
	}
	return s, true
}
