package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/meterseal/meterseal/dlms"
)

// MaxMessage is the longest message, in bytes; NATS refuses longer ones at the door.
const MaxMessage = 1 << 20

// Other limits of messages.
const (
	maxID    = 64
	maxText  = 1 << 10
	idSize   = 16
	maxItems = 10_000 // meters, keys, operations or entries in one message
)

// ErrMessage is returned for a message that is not of this contract.
var ErrMessage = errors.New("bus: message refused")

// subjectRoot begins every subject. A concentrator is known by the subject that it may publish on, never by what it
// writes in a message.
const subjectRoot = "meterseal.v1.c."

func orderSubject(c dlms.SystemTitle) string { return subjectRoot + c.String() + ".order" }
func upSubject(c dlms.SystemTitle) string    { return subjectRoot + c.String() + ".up" }

// inboxOf is where answers to a concentrator's own messages go.
func inboxOf(c dlms.SystemTitle) string { return "_INBOX." + c.String() }

// senderOf reads the concentrator out of the subject of an Up.
func senderOf(subject string) (dlms.SystemTitle, error) {
	text, ok := strings.CutPrefix(subject, subjectRoot)
	text, ok2 := strings.CutSuffix(text, ".up")
	if !ok || !ok2 {
		return dlms.SystemTitle{}, fmt.Errorf("%w: subject %q", ErrMessage, subject)
	}
	t, err := dlms.ParseSystemTitle(text)
	if err == nil && t.String() != text {
		err = errors.New("system title not in upper case")
	}
	return t, err
}

// decode reads exactly one JSON value with no field that is not ours.
func decode(b []byte, v any) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("%w: want at most %d bytes, got %d", ErrMessage, MaxMessage, len(b))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the message", ErrMessage)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("bus: encode: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: want at most %d bytes, got %d; send it in parts", ErrMessage, MaxMessage, len(b))
	}
	return b, nil
}

func checkID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%w: id: want 1 to %d characters, got %d", ErrMessage, maxID, len(id))
	}
	return nil
}

// one reports whether exactly one is set.
func one(set ...bool) bool {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n == 1
}

// Check refuses an order that is incomplete or asks for more than one thing.
func (o Order) Check() error {
	if err := checkID(o.ID); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if o.NotAfter.IsZero() {
		return fmt.Errorf("order: %w: want a deadline", ErrMessage)
	}
	if !one(o.Provision != nil, o.Relay != nil, o.Claim != nil, o.Release != nil, o.Perform != nil,
		o.Collect != nil, o.Broadcast != nil, o.Status != nil, o.Recall != nil) {
		return fmt.Errorf("order: %w: want exactly one thing to do", ErrMessage)
	}
	if n := o.items(); n > maxItems {
		return fmt.Errorf("order: %w: want at most %d items, got %d", ErrMessage, maxItems, n)
	}
	return nil
}

func (o Order) items() int {
	switch {
	case o.Provision != nil:
		return max(len(o.Provision.Keys), len(o.Provision.Remove), len(o.Provision.Escrow))
	case o.Claim != nil:
		return len(o.Claim.Meters)
	case o.Release != nil:
		return len(o.Release.Meters)
	case o.Perform != nil:
		return len(o.Perform.Ops)
	case o.Collect != nil:
		return len(o.Collect.Meters)
	}
	return 0
}

// Kind names what an order asks for, for logs.
func (o Order) Kind() string {
	switch {
	case o.Provision != nil:
		return "provision"
	case o.Relay != nil:
		return "relay"
	case o.Claim != nil:
		return "claim"
	case o.Release != nil:
		return "release"
	case o.Perform != nil:
		return "perform"
	case o.Collect != nil:
		return "collect"
	case o.Broadcast != nil:
		return "broadcast"
	case o.Status != nil:
		return "status"
	case o.Recall != nil:
		return "recall"
	}
	return "nothing"
}

// Check refuses an Up that is incomplete or tells more than one thing.
func (u Up) Check() error {
	if err := checkID(u.ID); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if !one(u.Hello != nil, u.Readings != nil, u.Log != nil) {
		return fmt.Errorf("up: %w: want exactly one thing", ErrMessage)
	}
	n := 0
	switch {
	case u.Hello != nil:
		n = max(len(u.Hello.Found), len(u.Hello.Held))
	case u.Readings != nil:
		n = len(u.Readings.Blocks)
	case u.Log != nil:
		n = len(u.Log.Entries)
	}
	if n > maxItems {
		return fmt.Errorf("up: %w: want at most %d items, got %d", ErrMessage, maxItems, n)
	}
	return nil
}

// fault makes a fault whose text is not longer than the wire allows.
func fault(code FaultCode, format string, args ...any) *Fault {
	text := fmt.Sprintf(format, args...)
	return &Fault{Code: code, Text: text[:min(len(text), maxText)]}
}
