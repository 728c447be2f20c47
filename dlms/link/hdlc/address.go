package hdlc

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// The largest parts of an address: seven bits an octet, the lowest bit marks the last octet.
const (
	maxShort = 0x7F
	maxLong  = 0x3FFF
)

// All-station addresses in parts of two octets; in parts of one it is dlms.SAPAllStations.
const allLong = 0x3FFF

// Address is an HDLC address (GB 8.4.2). A client's has one octet. A server's has one (upper), two (upper, lower) or
// four (two each): the upper part is the logical device, the lower part the physical device on a shared line.
type Address struct {
	// Upper is the logical device, or the client.
	Upper dlms.SAP
	// Lower is 0 in an address of one octet, which has none.
	Lower uint16
	// Size is 1, 2 or 4 octets.
	Size int
}

// ClientAddress is the one-octet address of a client.
func ClientAddress(client dlms.SAP) Address { return Address{Upper: client, Size: 1} }

// ServerAddress is the shortest address that holds both parts; physical 0 means no lower part. dlms.SAPAllStations
// becomes the all-station address of that size.
func ServerAddress(server dlms.SAP, physical uint16) Address {
	size := 1
	switch {
	case server > maxShort || physical > maxShort:
		size = 4
	case physical != 0:
		size = 2
	}
	return serverAddress(server, physical, size)
}

func serverAddress(server dlms.SAP, physical uint16, size int) Address {
	if size == 4 && server == dlms.SAPAllStations {
		server = allLong
	}
	return Address{Upper: server, Lower: physical, Size: size}
}

// Broadcast reports whether the address means every logical device, or every physical one.
func (a Address) Broadcast() bool {
	if a.Size == 4 {
		return a.Upper == allLong || a.Lower == allLong
	}
	return a.Upper == dlms.SAPAllStations || a.Size == 2 && a.Lower == maxShort
}

// none reports the no-station address, for which no station listens.
func (a Address) none() bool { return a.Upper == dlms.SAPNone }

// String returns "upper", or "upper/lower".
func (a Address) String() string {
	if a.Size == 1 {
		return fmt.Sprintf("%d", a.Upper)
	}
	return fmt.Sprintf("%d/%d", a.Upper, a.Lower)
}

func (a Address) check() error {
	limit := maxShort
	switch a.Size {
	case 1:
		if a.Lower != 0 {
			return fmt.Errorf("hdlc: address %d/%d: one octet has no lower part", a.Upper, a.Lower)
		}
	case 2:
	case 4:
		limit = maxLong
	default:
		return fmt.Errorf("hdlc: address: want 1, 2 or 4 octets, got %d", a.Size)
	}
	if int(a.Upper) > limit || int(a.Lower) > limit {
		return fmt.Errorf("hdlc: address %v: want parts of at most %d in %d octets", a, limit, a.Size)
	}
	return nil
}

// append appends the address, which check has passed.
func (a Address) append(dst []byte) []byte {
	switch a.Size {
	case 1:
		return append(dst, byte(a.Upper)<<1|1)
	case 2:
		return append(dst, byte(a.Upper)<<1, byte(a.Lower)<<1|1)
	}
	return append(dst, byte(a.Upper>>7)<<1, byte(a.Upper)<<1, byte(a.Lower>>7)<<1, byte(a.Lower)<<1|1)
}

// parseAddress reads the address at the start of b. Size 0 means that more octets are needed.
func parseAddress(b []byte) (Address, error) {
	for i, o := range b[:min(len(b), 4)] {
		if o&1 == 0 {
			continue
		}
		switch i + 1 {
		case 1:
			return Address{Upper: dlms.SAP(b[0] >> 1), Size: 1}, nil
		case 2:
			return Address{Upper: dlms.SAP(b[0] >> 1), Lower: uint16(b[1] >> 1), Size: 2}, nil
		case 4:
			return Address{Upper: dlms.SAP(part(b[0], b[1])), Lower: part(b[2], b[3]), Size: 4}, nil
		}
		return Address{}, fmt.Errorf("hdlc: address: %w: want 1, 2 or 4 octets, got 3", ErrMalformed)
	}
	if len(b) >= 4 {
		return Address{}, fmt.Errorf("hdlc: address: %w: no end within 4 octets", ErrMalformed)
	}
	return Address{}, nil
}

func part(high, low byte) uint16 { return uint16(high>>1)<<7 | uint16(low>>1) }
