package cosem

import (
	"context"
	"errors"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
)

// CommSpeed is comm_speed of a port (BB 4.7.2).
type CommSpeed uint8

// Communication speeds.
const (
	Speed300    CommSpeed = 0
	Speed600    CommSpeed = 1
	Speed1200   CommSpeed = 2
	Speed2400   CommSpeed = 3
	Speed4800   CommSpeed = 4
	Speed9600   CommSpeed = 5
	Speed19200  CommSpeed = 6
	Speed38400  CommSpeed = 7
	Speed57600  CommSpeed = 8
	Speed115200 CommSpeed = 9
)

// Baud returns the speed in bits per second, 0 for a number that the standard does not have.
func (s CommSpeed) Baud() int {
	bauds := [...]int{300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200}
	if int(s) >= len(bauds) {
		return 0
	}
	return bauds[s]
}

// String returns "9600 bit/s".
func (s CommSpeed) String() string {
	if s.Baud() == 0 {
		return "speed " + strconv.Itoa(int(s))
	}
	return strconv.Itoa(s.Baud()) + " bit/s"
}

// HDLCSetup is the value of an IEC HDLC setup (BB 4.7.2).
type HDLCSetup struct {
	// Speed is comm_speed.
	Speed CommSpeed
	// TransmitWindow and ReceiveWindow are in frames, 1 to 7.
	TransmitWindow, ReceiveWindow uint8
	// MaxTransmit and MaxReceive bound the information field, 32 to 2030 bytes.
	MaxTransmit, MaxReceive uint16
	// InterOctetTimeout is in milliseconds, 20 to 6000, InactivityTimeout in seconds, 0 for none.
	InterOctetTimeout, InactivityTimeout uint16
	// DeviceAddress is the lower HDLC address.
	DeviceAddress uint16
}

// DefaultHDLCSetup returns the defaults of the standard at 9600 bit/s.
func DefaultHDLCSetup() HDLCSetup {
	return HDLCSetup{
		Speed: Speed9600, TransmitWindow: 1, ReceiveWindow: 1, MaxTransmit: 128, MaxReceive: 128,
		InterOctetTimeout: 25, InactivityTimeout: 120, DeviceAddress: 0x10,
	}
}

// Validate checks the ranges of the standard.
func (s HDLCSetup) Validate() error {
	return errors.Join(
		outside("communication speed", int(s.Speed), 0, int(Speed115200)),
		outside("transmit window", int(s.TransmitWindow), 1, 7),
		outside("receive window", int(s.ReceiveWindow), 1, 7),
		outside("transmit information field", int(s.MaxTransmit), 32, 2030),
		outside("receive information field", int(s.MaxReceive), 32, 2030),
		outside("inter-octet time-out", int(s.InterOctetTimeout), 20, 6000),
		outside("device address", int(s.DeviceAddress), 0, 0x3FFF),
	)
}

// fieldLength reads a length: long-unsigned, and unsigned as version 0 of the class has it.
func fieldLength(d dlms.Data) (uint16, error) {
	if d.Tag() == dlms.TagUint8 {
		n, err := parseUint8(d)
		return uint16(n), err
	}
	return parseUint16(d)
}

func hdlcFields() []field[HDLCSetup] {
	return []field[HDLCSetup]{
		fieldOf(func(s *HDLCSetup) *CommSpeed { return &s.Speed }, enumData[CommSpeed], parseEnum[CommSpeed]),
		fieldOf(func(s *HDLCSetup) *uint8 { return &s.TransmitWindow }, dlms.Uint8, parseUint8),
		fieldOf(func(s *HDLCSetup) *uint8 { return &s.ReceiveWindow }, dlms.Uint8, parseUint8),
		fieldOf(func(s *HDLCSetup) *uint16 { return &s.MaxTransmit }, dlms.Uint16, fieldLength),
		fieldOf(func(s *HDLCSetup) *uint16 { return &s.MaxReceive }, dlms.Uint16, fieldLength),
		fieldOf(func(s *HDLCSetup) *uint16 { return &s.InterOctetTimeout }, dlms.Uint16, parseUint16),
		fieldOf(func(s *HDLCSetup) *uint16 { return &s.InactivityTimeout }, dlms.Uint16, parseUint16),
		fieldOf(func(s *HDLCSetup) *uint16 { return &s.DeviceAddress }, dlms.Uint16, parseUint16),
	}
}

// NewHDLCSetup returns an object of class IEC HDLC setup (BB 4.7.2, class 23 version 1).
func NewHDLCSetup(instance dlms.OBIS, setup Stored[HDLCSetup]) Object {
	return &record[HDLCSetup]{
		base:  base{ID{Class: dlms.ClassIECHDLCSetup, Version: 1, Instance: instance}},
		store: setup, fields: hdlcFields(), check: HDLCSetup.Validate,
	}
}

// RemoteHDLCSetup is an IEC HDLC setup of a meter.
type RemoteHDLCSetup struct{ remote }

// HDLCSetupAt returns the IEC HDLC setup under a logical name.
func HDLCSetupAt(c Caller, o dlms.OBIS) RemoteHDLCSetup {
	return RemoteHDLCSetup{remote{c, dlms.ClassIECHDLCSetup, o}}
}

// Read reads all attributes, one request each.
func (r RemoteHDLCSetup) Read(ctx context.Context) (HDLCSetup, error) {
	return readRecord(ctx, r.remote, hdlcFields())
}

// Write writes one attribute (2 to 9) of s.
func (r RemoteHDLCSetup) Write(ctx context.Context, attribute int8, s HDLCSetup) error {
	return write(ctx, r.remote, hdlcFields(), attribute, s)
}
