package bus

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Nearly all messages are relay envelopes and the claims around them. Those have a compact form; every other message, and
// one of these with a value that the form has no place for, is JSON, which begins with '{'. All numbers are big-endian:
//
//	order of relay            form 1, id, deadline, meter, client SAP (2), server SAP (2), APDU
//	order of claim            form 2, id, deadline, until, meters
//	order of release          form 3, id, deadline, meters
//	answer of relay           form 4, id, APDU
//	answer of claim           form 5, id, meters
//	answer of nothing to say  form 6, id
//
// An id is its length in one byte and its characters, a time the nanoseconds since 1970 in 8 bytes, a meter its system
// title. APDU and meters go to the end of the message.
const (
	formRelay byte = iota + 1
	formClaim
	formRelease
	formRelayed
	formClaimed
	formDone
)

// compactOrder writes an order in the compact form, if it has one.
func compactOrder(o *Order) ([]byte, bool) {
	b := make([]byte, 0, 64+len(o.ID)+o.compactSize())
	switch {
	case o.Relay != nil:
		b = append(b, formRelay)
	case o.Claim != nil:
		b = append(b, formClaim)
	case o.Release != nil:
		b = append(b, formRelease)
	default:
		return nil, false
	}
	b, ok := appendID(b, o.ID)
	b, ok2 := appendTime(b, o.NotAfter)
	ok = ok && ok2
	switch {
	case o.Relay != nil:
		b = append(b, o.Relay.Meter[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(o.Relay.ClientSAP))
		b = binary.BigEndian.AppendUint16(b, uint16(o.Relay.ServerSAP))
		return append(b, o.Relay.APDU...), ok
	case o.Claim != nil:
		b, ok2 = appendTime(b, o.Claim.Until)
		return appendTitles(b, o.Claim.Meters), ok && ok2
	}
	return appendTitles(b, o.Release.Meters), ok
}

func (o *Order) compactSize() int {
	if o.Relay != nil {
		return len(o.Relay.APDU)
	}
	return len(dlms.SystemTitle{}) * o.items()
}

// compactReply writes an answer in the compact form, if it has one.
func compactReply(r *Reply) ([]byte, bool) {
	if r.Fault != nil || r.Provision != nil || r.Perform != nil || r.Collect != nil || r.Broadcast != nil || r.Status != nil || r.Recall != nil {
		return nil, false
	}
	form, size := formDone, 0
	switch {
	case r.Relay != nil && r.Claim != nil:
		return nil, false
	case r.Relay != nil:
		form, size = formRelayed, len(r.Relay.APDU)
	case r.Claim != nil:
		form, size = formClaimed, len(dlms.SystemTitle{})*len(r.Claim.Meters)
	}
	b, ok := appendID(append(make([]byte, 0, 2+len(r.ID)+size), form), r.ID)
	switch form {
	case formRelayed:
		b = append(b, r.Relay.APDU...)
	case formClaimed:
		b = appendTitles(b, r.Claim.Meters)
	}
	return b, ok
}

func appendID(b []byte, id string) ([]byte, bool) {
	return append(append(b, byte(len(id))), id...), len(id) <= maxID
}

func appendTime(b []byte, t time.Time) ([]byte, bool) {
	n := t.UnixNano()
	return binary.BigEndian.AppendUint64(b, uint64(n)), time.Unix(0, n).Equal(t)
}

func appendTitles(b []byte, titles []dlms.SystemTitle) []byte {
	for _, t := range titles {
		b = append(b, t[:]...)
	}
	return b
}

// compactReader takes a compact message apart. After a mistake everything it returns is empty.
type compactReader struct {
	b   []byte
	bad bool
}

func (r *compactReader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	var out []byte
	out, r.b = r.b[:n], r.b[n:]
	return out
}

func (r *compactReader) id() string { return string(r.take(int(r.take(1)[0]))) }
func (r *compactReader) time() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(r.take(8)))).UTC()
}
func (r *compactReader) title() dlms.SystemTitle { return dlms.SystemTitle(r.take(8)) }
func (r *compactReader) sap() dlms.SAP           { return dlms.SAP(binary.BigEndian.Uint16(r.take(2))) }

func (r *compactReader) rest() []byte { return append([]byte(nil), r.take(len(r.b))...) }

// titles reads the rest as system titles. No message has more than MaxMessage holds, and Check looks at their number.
func (r *compactReader) titles() []dlms.SystemTitle {
	out := make([]dlms.SystemTitle, 0, len(r.b)/8)
	for len(r.b) > 0 && !r.bad {
		out = append(out, r.title())
	}
	return out
}

func (r *compactReader) end() error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: a compact message of the wrong length", ErrMessage)
	}
	return nil
}

// decodeOrder reads an order in either form.
func decodeOrder(data []byte, o *Order) error {
	form, r := formOf(data)
	switch form {
	case formRelay, formClaim, formRelease:
	default:
		return decode(data, o)
	}
	o.ID, o.NotAfter = r.id(), r.time()
	switch form {
	case formRelay:
		o.Relay = &Relay{Meter: r.title(), ClientSAP: r.sap(), ServerSAP: r.sap()}
		o.Relay.APDU = r.rest()
	case formClaim:
		o.Claim = &Claim{Until: r.time()}
		o.Claim.Meters = r.titles()
	default:
		o.Release = &Release{Meters: r.titles()}
	}
	return r.end()
}

// decodeReply reads an answer in either form.
func decodeReply(data []byte, v *Reply) error {
	form, r := formOf(data)
	switch form {
	case formRelayed, formClaimed, formDone:
	default:
		return decode(data, v)
	}
	v.ID = r.id()
	switch form {
	case formRelayed:
		v.Relay = &RelayResult{APDU: r.rest()}
	case formClaimed:
		v.Claim = &ClaimResult{Meters: r.titles()}
	}
	return r.end()
}

// formOf returns the form of a compact message and what follows it; 0 for one that is not compact, or is too long.
func formOf(data []byte) (byte, *compactReader) {
	if len(data) == 0 || len(data) > MaxMessage || data[0] > formDone {
		return 0, nil
	}
	return data[0], &compactReader{b: data[1:]}
}

func encodeOrder(o *Order) ([]byte, error) { return compactOr(o, compactOrder) }
func encodeReply(r *Reply) ([]byte, error) { return compactOr(r, compactReply) }

func compactOr[T any](v *T, compact func(*T) ([]byte, bool)) ([]byte, error) {
	b, ok := compact(v)
	if !ok {
		return encode(v)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: want at most %d bytes, got %d; send it in parts", ErrMessage, MaxMessage, len(b))
	}
	return b, nil
}
