package cosem

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Transport is transport_service of a push (BB 4.4.8). From 200 on it is the manufacturer's.
type Transport uint8

// Transport services.
const (
	TransportTCP    Transport = 0
	TransportUDP    Transport = 1
	TransportFTP    Transport = 2
	TransportSMTP   Transport = 3
	TransportSMS    Transport = 4
	TransportHDLC   Transport = 5
	TransportMBus   Transport = 6
	TransportZigBee Transport = 7
)

// String returns "TCP" and the like.
func (t Transport) String() string {
	names := [...]string{"TCP", "UDP", "FTP", "SMTP", "SMS", "HDLC", "M-Bus", "ZigBee"}
	if int(t) < len(names) {
		return names[t]
	}
	return "transport " + strconv.Itoa(int(t))
}

// PushDestination is send_destination_and_method (BB 4.4.8).
//
//	send_destination_and_method ::= structure { transport_service enum, destination octet-string, message enum }
type PushDestination struct {
	// Transport is the transport_service.
	Transport Transport
	// Address is what the transport calls for: "192.0.2.1:4059", a telephone number.
	Address []byte
	// Message is 0 for an APDU in A-XDR, 1 for one in XML, from 128 on the manufacturer's.
	Message uint8
}

// Data returns the destination as it travels.
func (d PushDestination) Data() dlms.Data {
	return dlms.Structure(dlms.Enum(uint8(d.Transport)), dlms.OctetString(d.Address), dlms.Enum(d.Message))
}

// ParsePushDestination takes a destination out of a value.
func ParsePushDestination(d dlms.Data) (PushDestination, error) {
	c := structure(d, 3)
	return finish(&c, PushDestination{Transport: Transport(c.enum()), Address: c.octets(), Message: c.enum()}, "push destination")
}

// PushWindow is one communication window (BB 4.4.8): the meter may send from a Start to the next End. Wildcards make
// it come again; a Start or End of which nothing is specified is open.
//
//	window_element ::= structure { start_time octet-string, end_time octet-string }
type PushWindow struct {
	// Start opens the window, and End closes it.
	Start, End dlms.DateTime
}

// Data returns the window as it travels.
func (w PushWindow) Data() dlms.Data { return dlms.Structure(w.Start.Octets(), w.End.Octets()) }

// ParsePushWindow takes a window out of a value.
func ParsePushWindow(d dlms.Data) (PushWindow, error) {
	c := structure(d, 2)
	return finish(&c, PushWindow{Start: c.dateTime(), End: c.dateTime()}, "communication window")
}

// open reports whether the meter may send at a moment.
func (w PushWindow) open(now time.Time, loc *time.Location) bool {
	start := now
	if w.Start != dlms.DateTimeUnspecified() {
		var ok bool
		if start, ok = patternOf(w.Start, loc).last(now); !ok {
			return false
		}
	}
	if w.End == dlms.DateTimeUnspecified() {
		return true
	}
	end, ok := patternOf(w.End, loc).next(start)
	return ok && end.After(now)
}

// PushSetup is the value of a Push setup (BB 4.4.8, version 0, attributes 2 to 7).
type PushSetup struct {
	// Objects are what is sent: attributes, or one element of them.
	Objects []apdu.Column
	// Destination is where it is sent.
	Destination PushDestination
	// Windows are when the meter may send; none is always.
	Windows []PushWindow
	// RandomStart is for how many seconds at most the first attempt is put off at random.
	RandomStart uint16
	// Retries is how often the meter tries again, RepetitionDelay how many seconds apart.
	Retries         uint8
	RepetitionDelay uint16
}

// Bounds of a push setup, ours.
const (
	maxPushObjects = 64
	maxPushWindows = 32
	maxPushAddress = 256
)

// Validate bounds the lists of the setup.
func (s PushSetup) Validate() error {
	return errors.Join(
		outside("push objects", len(s.Objects), 0, maxPushObjects),
		outside("communication windows", len(s.Windows), 0, maxPushWindows),
		outside("destination", len(s.Destination.Address), 0, maxPushAddress),
	)
}

// open reports whether one of the windows is.
func (s *PushSetup) open(now time.Time, loc *time.Location) bool {
	for _, w := range s.Windows {
		if w.open(now, loc) {
			return true
		}
	}
	return len(s.Windows) == 0
}

// opens returns when the next window begins after now. A window whose End is past never opens again, whatever its Start
// says.
func (s *PushSetup) opens(now time.Time, loc *time.Location) (time.Time, bool) {
	var first time.Time
	for _, w := range s.Windows {
		t, ok := patternOf(w.Start, loc).next(now)
		if ok && w.open(t, loc) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first, !first.IsZero()
}

func pushFields() []field[PushSetup] {
	return []field[PushSetup]{
		fieldOf(func(s *PushSetup) *[]apdu.Column { return &s.Objects }, listData[apdu.Column], listOf("push object", apdu.ParseColumn)),
		fieldOf(func(s *PushSetup) *PushDestination { return &s.Destination }, PushDestination.Data, ParsePushDestination),
		fieldOf(func(s *PushSetup) *[]PushWindow { return &s.Windows }, listData[PushWindow], listOf("window", ParsePushWindow)),
		fieldOf(func(s *PushSetup) *uint16 { return &s.RandomStart }, dlms.Uint16, parseUint16),
		fieldOf(func(s *PushSetup) *uint8 { return &s.Retries }, dlms.Uint8, parseUint8),
		fieldOf(func(s *PushSetup) *uint16 { return &s.RepetitionDelay }, dlms.Uint16, parseUint16),
	}
}

// PushSetupConfig describes a Push setup.
type PushSetupConfig struct {
	// Instance is the logical name, 0.b.25.9.0.255 as a rule.
	Instance dlms.OBIS
	// Setup is attributes 2 to 7 as the device keeps them.
	Setup Stored[PushSetup]
	// Push serves method push, with [PushEngine.Trigger] for one; nil refuses.
	Push func(env *Env) error
}

// NewPushSetup returns an object of class Push setup (BB 4.4.8, class 40 version 0).
func NewPushSetup(cfg PushSetupConfig) Object {
	return &record[PushSetup]{
		base:  base{ID{Class: dlms.ClassPushSetup, Instance: cfg.Instance}},
		store: cfg.Setup, fields: pushFields(), check: PushSetup.Validate,
		methods: []func(*Env, dlms.Data) error{func(env *Env, _ dlms.Data) error {
			_, err := call(env, cfg.Push)
			return err
		}},
	}
}

// PushBody reads what a push sends: a structure with a value for each push object (BB 4.4.8).
func PushBody(env *Env, from AttributeReader, objects []apdu.Column) (dlms.Data, error) {
	list := make([]dlms.Data, len(objects))
	for i, c := range objects {
		d, err := readColumn(env, from, c)
		if err != nil {
			return dlms.Null(), fmt.Errorf("push object %d: %w", i+1, err)
		}
		list[i] = d
	}
	return dlms.Structure(list...), nil
}

// RemotePushSetup is a Push setup of a meter.
type RemotePushSetup struct{ remote }

// PushSetupAt returns the Push setup under a logical name, 0.0.25.9.0.255 by the standard.
func PushSetupAt(c Caller, o dlms.OBIS) RemotePushSetup {
	return RemotePushSetup{remote{c, dlms.ClassPushSetup, o}}
}

// Read reads attributes 2 to 7, one request each.
func (r RemotePushSetup) Read(ctx context.Context) (PushSetup, error) {
	return readRecord(ctx, r.remote, pushFields())
}

// Write writes one attribute (2 to 7) of s.
func (r RemotePushSetup) Write(ctx context.Context, attribute int8, s PushSetup) error {
	return write(ctx, r.remote, pushFields(), attribute, s)
}

// Push has the meter push now.
func (r RemotePushSetup) Push(ctx context.Context) error { return r.trigger(ctx, 1) }
