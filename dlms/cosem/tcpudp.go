package cosem

import (
	"context"
	"errors"

	"github.com/meterseal/meterseal/dlms"
)

// TCPUDPSetup is the value of a TCP-UDP setup (BB 4.9.1).
type TCPUDPSetup struct {
	// Port is where the meter listens, 4059 by default.
	Port uint16
	// IPReference is the logical name of the IP setup object.
	IPReference dlms.OBIS
	// MaxSegment is the maximum segment size in bytes, 40 to 65535.
	MaxSegment uint16
	// Connections is how many clients may be connected at the same time, at least 1.
	Connections uint8
	// InactivityTimeout is in seconds, 0 for none.
	InactivityTimeout uint16
}

// DefaultTCPUDPSetup returns the defaults of the standard.
func DefaultTCPUDPSetup() TCPUDPSetup {
	return TCPUDPSetup{
		Port: 4059, IPReference: dlms.OBIS{0, 0, 25, 1, 0, 255}, MaxSegment: 576, Connections: 1,
		InactivityTimeout: 180,
	}
}

// Validate checks the ranges of the standard.
func (s TCPUDPSetup) Validate() error {
	return errors.Join(
		outside("tcp-udp port", int(s.Port), 1, 65535),
		outside("maximum segment size", int(s.MaxSegment), 40, 65535),
		outside("simultaneous connections", int(s.Connections), 1, 255),
	)
}

func tcpudpFields() []field[TCPUDPSetup] {
	return []field[TCPUDPSetup]{
		fieldOf(func(s *TCPUDPSetup) *uint16 { return &s.Port }, dlms.Uint16, parseUint16),
		fieldOf(func(s *TCPUDPSetup) *dlms.OBIS { return &s.IPReference }, dlms.LogicalNameData, dlms.Data.LogicalName),
		fieldOf(func(s *TCPUDPSetup) *uint16 { return &s.MaxSegment }, dlms.Uint16, parseUint16),
		fieldOf(func(s *TCPUDPSetup) *uint8 { return &s.Connections }, dlms.Uint8, parseUint8),
		fieldOf(func(s *TCPUDPSetup) *uint16 { return &s.InactivityTimeout }, dlms.Uint16, parseUint16),
	}
}

// NewTCPUDPSetup returns an object of class TCP-UDP setup (BB 4.9.1, class 41 version 0).
func NewTCPUDPSetup(instance dlms.OBIS, setup Stored[TCPUDPSetup]) Object {
	return &record[TCPUDPSetup]{
		base:  base{ID{Class: dlms.ClassTCPUDPSetup, Instance: instance}},
		store: setup, fields: tcpudpFields(), check: TCPUDPSetup.Validate,
	}
}

// RemoteTCPUDPSetup is a TCP-UDP setup of a meter.
type RemoteTCPUDPSetup struct{ remote }

// TCPUDPSetupAt returns the TCP-UDP setup under a logical name.
func TCPUDPSetupAt(c Caller, o dlms.OBIS) RemoteTCPUDPSetup {
	return RemoteTCPUDPSetup{remote{c, dlms.ClassTCPUDPSetup, o}}
}

// Read reads all attributes, one request each.
func (r RemoteTCPUDPSetup) Read(ctx context.Context) (TCPUDPSetup, error) {
	return readRecord(ctx, r.remote, tcpudpFields())
}

// Write writes one attribute (2 to 6) of s.
func (r RemoteTCPUDPSetup) Write(ctx context.Context, attribute int8, s TCPUDPSetup) error {
	return write(ctx, r.remote, tcpudpFields(), attribute, s)
}
