package apdu

import (
	"fmt"
	"strings"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// Conformance is the conformance block (GB 9.4.6.1): a BIT STRING of 24, of which bit 0 is the most significant.
//
//	Conformance ::= [APPLICATION 31] IMPLICIT BIT STRING (SIZE(24))
type Conformance uint32

// Bits of the conformance block; bit n of the standard is 1 << (23 - n). Bits 0 and 7 are reserved.
const (
	ConformanceGeneralProtection    Conformance = 1 << (23 - 1)
	ConformanceGeneralBlockTransfer Conformance = 1 << (23 - 2)
	ConformanceRead                 Conformance = 1 << (23 - 3)
	ConformanceWrite                Conformance = 1 << (23 - 4)
	ConformanceUnconfirmedWrite     Conformance = 1 << (23 - 5)
	ConformanceDeltaValueEncoding   Conformance = 1 << (23 - 6)
	ConformanceAttribute0WithSet    Conformance = 1 << (23 - 8)
	ConformancePriorityManagement   Conformance = 1 << (23 - 9)
	ConformanceAttribute0WithGet    Conformance = 1 << (23 - 10)
	ConformanceBlockTransferGet     Conformance = 1 << (23 - 11)
	ConformanceBlockTransferSet     Conformance = 1 << (23 - 12)
	ConformanceBlockTransferAction  Conformance = 1 << (23 - 13)
	ConformanceMultipleReferences   Conformance = 1 << (23 - 14)
	ConformanceInformationReport    Conformance = 1 << (23 - 15)
	ConformanceDataNotification     Conformance = 1 << (23 - 16)
	ConformanceAccess               Conformance = 1 << (23 - 17)
	ConformanceParameterizedAccess  Conformance = 1 << (23 - 18)
	ConformanceGet                  Conformance = 1 << (23 - 19)
	ConformanceSet                  Conformance = 1 << (23 - 20)
	ConformanceSelectiveAccess      Conformance = 1 << (23 - 21)
	ConformanceEventNotification    Conformance = 1 << (23 - 22)
	ConformanceAction               Conformance = 1 // bit 23
)

const (
	conformanceBits             = 24
	conformanceMask Conformance = 1<<conformanceBits - 1

	conformanceTag       = 0x5F // [APPLICATION 31], first octet
	conformanceTagNumber = 0x1F // second octet
	conformanceLength    = 4    // octets of the BIT STRING, the first of which
	conformanceUnused    = 0    // counts the unused bits
)

// Has reports whether all bits of want are set.
func (c Conformance) Has(want Conformance) bool { return c&want == want }

// String returns the names of the bits that are set, joined by +.
func (c Conformance) String() string {
	names := [conformanceBits]string{
		"reserved0", "general-protection", "general-block-transfer", "read", "write", "unconfirmed-write",
		"delta-value-encoding", "reserved7", "attribute0-set", "priority-mgmt", "attribute0-get", "block-transfer-get",
		"block-transfer-set", "block-transfer-action", "multiple-references", "information-report",
		"data-notification", "access", "parameterized-access", "get", "set", "selective-access",
		"event-notification", "action",
	}
	var set []string
	for bit, name := range names {
		if c&(1<<(conformanceBits-1-bit)) != 0 {
			set = append(set, name)
		}
	}
	if set == nil {
		return "none"
	}
	return strings.Join(set, "+")
}

// readConformance reads the block under its tag of two octets, or of one, as old implementations write it and GB
// 9.4.6.1 lets pass.
func readConformance(r *wire.Reader) Conformance {
	r.In("conformance").Expect(conformanceTag)
	if second, ok := r.Peek(); ok && second == conformanceTagNumber {
		r.Uint8()
	} else {
		r.MarkLax()
	}
	r.Expect(conformanceLength)
	r.Expect(conformanceUnused)
	return Conformance(r.Uint8())<<16 | Conformance(r.Uint16())
}

// append writes the block; more than 24 bits are refused.
func (c Conformance) append(dst []byte) ([]byte, error) {
	if c > conformanceMask {
		return nil, fmt.Errorf("%w: conformance %#x has more than %d bits", ErrValue, uint32(c), conformanceBits)
	}
	return append(dst, conformanceTag, conformanceTagNumber, conformanceLength, conformanceUnused,
		byte(c>>16), byte(c>>8), byte(c)), nil
}
