package audit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// Actor is who did it: "person:NAME", "system:rotation", "maker:NAME".
type Actor string

// Action is what was done, in dotted lower case: "vault.key.wrapped".
type Action string

// Phase places an entry before or after the deed.
type Phase string

// The phases.
const (
	// Intent is written, and committed, before a key is used or handed out.
	Intent Phase = "intent"
	// Result follows an intent of the same operation.
	Result Phase = "result"
	// Done records a deed that is one with its own commit.
	Done Phase = "done"
)

// Subject is what it was done to. Empty parts are left out.
type Subject struct {
	Meter      dlms.SystemTitle `json:"meter,omitzero"`
	Device     dlms.SystemTitle `json:"device,omitzero"`
	Role       role.Role        `json:"role,omitzero"`
	Version    uint32           `json:"version,omitzero"`
	CheckValue string           `json:"check_value,omitempty"`
	Grant      string           `json:"grant,omitempty"`
}

// KeySubject names one key version.
func KeySubject(ref role.KeyRef, checkValue string) Subject {
	return Subject{Meter: ref.Meter, Role: ref.Role, Version: ref.Version, CheckValue: checkValue}
}

// Entry is one record. Its JSON form, as first written, is the leaf that is hashed.
type Entry struct {
	At      time.Time         `json:"at"`
	Actor   Actor             `json:"actor"`
	Action  Action            `json:"action"`
	Phase   Phase             `json:"phase"`
	Op      string            `json:"op,omitempty"` // joins an intent and its result
	Subject Subject           `json:"subject,omitzero"`
	Outcome string            `json:"outcome,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
}

// MaxEntry bounds the encoded size of an entry, in bytes.
const MaxEntry = 16 << 10

func (e Entry) row() (Row, error) {
	if e.Actor == "" || e.Action == "" || e.Phase == "" {
		return Row{}, fmt.Errorf("audit entry %q: want an actor, an action and a phase", e.Action)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return Row{}, fmt.Errorf("audit entry %q: %w", e.Action, err)
	}
	if len(body) > MaxEntry {
		return Row{}, fmt.Errorf("audit entry %q: %d bytes, want at most %d", e.Action, len(body), MaxEntry)
	}
	return Row{At: e.At, Actor: e.Actor, Action: e.Action, Meter: e.Subject.Meter, Body: body}, nil
}
