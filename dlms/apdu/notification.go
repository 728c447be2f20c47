package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// EventNotification tells of an attribute unasked (GB 9.3.11, 9.5).
//
//	EventNotificationRequest ::= SEQUENCE { time OCTET STRING OPTIONAL, cosem-attribute-descriptor, attribute-value Data }
type EventNotification struct {
	// Time is sent when HasTime is set. Its fields are not checked: an event is not lost over a bad clock.
	HasTime bool
	Time    dlms.DateTime
	// Ref is the attribute that is told.
	Ref dlms.AttributeRef
	// Value is its value.
	Value dlms.Data
}

// ParseEventNotification parses an EventNotification.
func ParseEventNotification(b []byte) (EventNotification, error) {
	r := wire.NewReader(b)
	n := readEventNotification(&r)
	if err := done(&r, TagEventNotification); err != nil {
		return EventNotification{}, err
	}
	return n, nil
}

func readEventNotification(r *wire.Reader) EventNotification {
	var n EventNotification
	expectTag(r, TagEventNotification)
	if n.HasTime = r.In("time").Optional(); n.HasTime {
		n.Time = readDateTime(r, r.OctetString())
	}
	n.Ref = readAttributeRef(r)
	n.Value = dlms.ReadData(r.In("attribute value"))
	return n
}

func readDateTime(r *wire.Reader, b []byte) dlms.DateTime {
	if r.Err() != nil {
		return dlms.DateTime{}
	}
	t, err := dlms.DateTimeFromBytes(b)
	if err != nil {
		r.Fail(err)
	}
	return t
}

// AppendBinary appends the notification.
func (n EventNotification) AppendBinary(dst []byte) ([]byte, error) {
	dst = wire.AppendBool(append(dst, byte(TagEventNotification)), n.HasTime)
	if n.HasTime {
		dst = wire.AppendOctetString(dst, n.Time[:])
	}
	dst, err := n.Value.AppendBinary(appendAttributeRef(dst, n.Ref))
	return appendError(TagEventNotification, dst, err)
}

// DataNotification pushes data unasked (GB 9.3.10, 9.5).
//
//	Data-Notification ::= SEQUENCE { long-invoke-id-and-priority, date-time OCTET STRING, notification-body Data }
type DataNotification struct {
	// ID tells one notification from the next; its service class says whether an answer is asked for.
	ID LongInvokeID
	// Time is sent when HasTime is set, else an empty octet string. Its fields are not checked.
	HasTime bool
	Time    dlms.DateTime
	// Body is what is pushed: in general a structure of the push objects.
	Body dlms.Data
}

// ParseDataNotification parses a DataNotification.
func ParseDataNotification(b []byte) (DataNotification, error) {
	r := wire.NewReader(b)
	n := readDataNotification(&r)
	if err := done(&r, TagDataNotification); err != nil {
		return DataNotification{}, err
	}
	return n, nil
}

func readDataNotification(r *wire.Reader) DataNotification {
	var n DataNotification
	expectTag(r, TagDataNotification)
	n.ID = LongInvokeID(r.In("long invoke id").Uint32())
	if t := r.In("date-time").OctetString(); len(t) > 0 {
		n.HasTime, n.Time = true, readDateTime(r, t)
	}
	n.Body = dlms.ReadData(r.In("notification body"))
	return n
}

// AppendBinary appends the notification.
func (n DataNotification) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendNumber(append(dst, byte(TagDataNotification)), uint32(n.ID))
	if n.HasTime {
		dst = wire.AppendOctetString(dst, n.Time[:])
	} else {
		dst = append(dst, 0)
	}
	dst, err := n.Body.AppendBinary(dst)
	if err != nil {
		return nil, fmt.Errorf("append data-notification: %w", err)
	}
	return dst, nil
}
