package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/keylog"
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

// Entry is one record: a deed. Its JSON form, as first written, is the leaf that is hashed.
type Entry struct {
	At      time.Time         `json:"at"`
	Actor   Actor             `json:"actor"`
	Action  Action            `json:"action"`
	Phase   Phase             `json:"phase"`
	Op      string            `json:"op,omitempty"` // joins an intent and its result
	Subject Subject           `json:"subject,omitzero"`
	Outcome string            `json:"outcome,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
	// Log is what a device has told of its own use of keys, as its own hash-chained log has it.
	Log []keylog.Entry `json:"log,omitempty"`
	// Keys are the keys that it was done to where those are several: whatever else there is to say is the same for all of
	// them. Log writes them, so that a batch is one record; who appends entries or reads them sees one for each key.
	Keys []KeyName `json:"keys,omitempty"`
}

// KeyName is what one key of a record adds to its subject. It reads "4D534C0000000001 v2 a1b2c3".
type KeyName struct {
	Meter      dlms.SystemTitle
	Version    uint32
	CheckValue string // hexadecimal, may be empty
}

// appendText writes a KeyName.
func (k KeyName) appendText(b []byte) []byte {
	b = append(b, k.Meter.String()...)
	b = strconv.AppendUint(append(b, ` v`...), uint64(k.Version), 10)
	if k.CheckValue != "" {
		b = append(append(b, ' '), k.CheckValue...)
	}
	return b
}

// MarshalText implements encoding.TextMarshaler.
func (k KeyName) MarshalText() ([]byte, error) { return k.appendText(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *KeyName) UnmarshalText(text []byte) error {
	words := strings.Split(string(text), " ")
	if len(words) < 2 || len(words) > 3 || !strings.HasPrefix(words[1], "v") || len(words) == 3 && !hexadecimal(words[2]) {
		return fmt.Errorf("key %.40q: want a meter, a version and a check value", text)
	}
	meter, err := dlms.ParseSystemTitle(words[0])
	if err != nil {
		return fmt.Errorf("key %.40q: %w", text, err)
	}
	version, err := strconv.ParseUint(words[1][1:], 10, 32)
	if err != nil {
		return fmt.Errorf("key %.40q: %w", text, err)
	}
	*k = KeyName{Meter: meter, Version: uint32(version)}
	if len(words) == 3 {
		k.CheckValue = words[2]
	}
	return nil
}

func hexadecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

// Each returns the entry of each key of a record, or the entry itself if it names none.
func (e Entry) Each() []Entry {
	if len(e.Keys) == 0 {
		return []Entry{e}
	}
	out := make([]Entry, len(e.Keys))
	for i, k := range e.Keys {
		out[i] = e
		out[i].Keys = nil
		out[i].Subject.Meter, out[i].Subject.Version, out[i].Subject.CheckValue = k.Meter, k.Version, k.CheckValue
	}
	return out
}

// MaxEntry bounds the encoded size of an entry, in bytes.
const MaxEntry = 16 << 10

// maxKeys is how many keys one record names: far below MaxEntry with all that is said beside them.
const maxKeys = 128

// record is an entry on its way into the log, with the keys that it was found to share its words with.
type record struct {
	Entry
	keys []KeyName
}

// ofKey reports whether an entry is about one version of a key, named in plain words.
func (e *Entry) ofKey() bool {
	return !e.Subject.Meter.IsZero() && e.Subject.Role != 0 && e.Subject.Version != 0 && len(e.Keys) == 0 &&
		(e.Subject.CheckValue == "" || hexadecimal(e.Subject.CheckValue))
}

func (e *Entry) keyName() KeyName {
	return KeyName{Meter: e.Subject.Meter, Version: e.Subject.Version, CheckValue: e.Subject.CheckValue}
}

// says reports whether two entries say the same, but for the key.
func (e *Entry) says(o *Entry) bool {
	return e.Action == o.Action && e.Phase == o.Phase && e.Op == o.Op && e.Actor == o.Actor &&
		e.Outcome == o.Outcome && e.Subject.Role == o.Subject.Role && e.Subject.Device == o.Subject.Device &&
		e.Subject.Grant == o.Subject.Grant && maps.Equal(e.Detail, o.Detail)
}

// nearby is how many records back one is looked for that says the same: a batch alternates between few things.
const nearby = 4

// records puts entries of keys that say the same into one record, at the place of the first.
func records(entries []Entry, now time.Time) []record {
	var out []record
next:
	for i := range entries {
		e := &entries[i]
		at := e.At
		if at.IsZero() {
			at = now
		}
		if e.ofKey() {
			for r := len(out) - 1; r >= max(0, len(out)-nearby); r-- {
				if o := &out[r]; o.keys != nil && len(o.keys) < maxKeys && o.At.Equal(at) && e.says(&o.Entry) {
					o.keys = append(o.keys, e.keyName())
					continue next
				}
			}
		}
		r := record{Entry: *e}
		if r.At = at; e.ofKey() {
			r.keys = append(make([]KeyName, 0, min(maxKeys, len(entries)-i)), e.keyName())
		}
		out = append(out, r)
	}
	return out
}

func (r record) row() (Row, error) {
	if r.Actor == "" || r.Action == "" || r.Phase == "" {
		return Row{}, fmt.Errorf("audit entry %q: want an actor, an action and a phase", r.Action)
	}
	row := Row{At: r.At, Actor: r.Actor, Action: r.Action, Meter: r.Subject.Meter}
	if len(r.keys) > 1 {
		row.Meter = dlms.SystemTitle{}
		r.Subject.Meter, r.Subject.Version, r.Subject.CheckValue = dlms.SystemTitle{}, 0, ""
	}
	var err error
	if row.Body, err = json.Marshal(r.Entry); err != nil {
		return Row{}, fmt.Errorf("audit entry %q: %w", r.Action, err)
	}
	if len(r.keys) > 1 {
		row.Body, row.Meters = appendKeys(row.Body, r.keys), titlesOf(r.keys)
	}
	if len(row.Body) > MaxEntry {
		return Row{}, fmt.Errorf("audit entry %q: %d bytes, want at most %d", r.Action, len(row.Body), MaxEntry)
	}
	return row, nil
}

// appendKeys writes the keys into the object that an entry without keys was written as, as Marshal would: the keys of a
// batch are many, and each is three plain words.
func appendKeys(body []byte, keys []KeyName) []byte {
	body = slices.Grow(body, 40*len(keys))
	body = append(body[:len(body)-1], `,"keys":[`...)
	for i, k := range keys {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(k.appendText(append(body, '"')), '"')
	}
	return append(body, ']', '}')
}

// titlesOf lists the meters, one after the other, each once.
func titlesOf(keys []KeyName) []byte {
	out := make([]byte, 0, 8*len(keys))
	for i, k := range keys {
		if i == 0 || k.Meter != keys[i-1].Meter {
			out = append(out, k.Meter[:]...)
		}
	}
	return out
}

// split makes a row for each key of a record, those of one meter only unless that is zero. They share the record's number.
func (r Row) split(meter dlms.SystemTitle) ([]Row, error) {
	if len(r.Meters) == 0 {
		return []Row{r}, nil
	}
	var e Entry
	if err := json.Unmarshal(r.Body, &e); err != nil {
		return nil, fmt.Errorf("audit record %d: %w", r.ID, err)
	}
	var out []Row
	for _, one := range e.Each() {
		if !meter.IsZero() && one.Subject.Meter != meter {
			continue
		}
		body, err := json.Marshal(one)
		if err != nil {
			return nil, fmt.Errorf("audit record %d: %w", r.ID, err)
		}
		out = append(out, Row{ID: r.ID, At: r.At, Actor: r.Actor, Action: r.Action, Meter: one.Subject.Meter, Body: body})
	}
	return out, nil
}
