package life

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// Actions that are told in a way of their own.
const (
	imported audit.Action = "vault.meter.imported"
	used     audit.Action = "vault.key.used"
)

// words says each deed that is done with a key; what follows in the record is added.
var words = map[audit.Action]string{
	imported:               "came with the meter, from its maker",
	used:                   "an association was opened under it",
	"vault.key.generated":  "made in the vault",
	"vault.key.wrapped":    "wrapped under CCC, for the meter alone",
	"vault.key.sealed":     "sealed",
	"vault.key.sent":       "on its way: from here on the meter may have it",
	"vault.key.active":     "in force",
	"vault.key.superseded": "superseded by another version",
	"vault.key.abandoned":  "given up, though the meter may have it",
}

// Known reports whether a deed has words.
func Known(a audit.Action) bool { return words[a] != "" }

// event says a record in words.
func event(e audit.Entry) Event {
	text, known := words[e.Action]
	if !known {
		text = string(e.Action)
	}
	if !e.Subject.Device.IsZero() {
		text += " to " + e.Subject.Device.String()
	}
	if e.Subject.Grant != "" {
		text += " under grant " + e.Subject.Grant
	}
	switch {
	case e.Outcome == "" || e.Outcome == "ok":
	case e.Phase == audit.Result:
		text += ": " + e.Outcome // it was refused, or failed
	default:
		text += ", " + e.Outcome
	}
	if from := e.Detail["from"]; from != "" {
		text += " (it was " + from + ")"
	} else if !known && len(e.Detail) > 0 {
		text += " (" + details(e.Detail) + ")"
	}
	return Event{At: e.At, By: string(e.Actor), Text: text, Alarm: IsAlarm(e.Action)}
}

func details(d map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(d)) {
		out = append(out, fmt.Sprintf("%s %s", k, d[k]))
	}
	return strings.Join(out, ", ")
}

// IsAlarm reports whether an action is one that somebody has to look at.
func IsAlarm(a audit.Action) bool { return strings.Contains(string(a), ".alarm.") }
