package apdu

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// ApplicationContext is the last number of the application context name 2.16.756.5.8.1.x (GB 9.4.2.2.2).
type ApplicationContext uint8

// Application contexts.
const (
	ContextLN         ApplicationContext = 1 // logical names, no ciphering
	ContextSN         ApplicationContext = 2 // short names, no ciphering
	ContextLNCiphered ApplicationContext = 3 // logical names with ciphering
	ContextSNCiphered ApplicationContext = 4 // short names with ciphering
)

// String returns the context's name.
func (c ApplicationContext) String() string {
	switch c {
	case ContextLN:
		return "ln"
	case ContextSN:
		return "sn"
	case ContextLNCiphered:
		return "ln-ciphered"
	case ContextSNCiphered:
		return "sn-ciphered"
	}
	return "application context " + strconv.Itoa(int(c))
}

// Mechanism is the last number of the authentication mechanism name 2.16.756.5.8.2.x (GB 9.4.2.2.3).
type Mechanism uint8

// Authentication mechanisms.
const (
	MechanismLowest    Mechanism = 0 // no authentication
	MechanismLLS       Mechanism = 1 // a password in clear
	MechanismHLS       Mechanism = 2 // the maker's own
	MechanismHLSMD5    Mechanism = 3
	MechanismHLSSHA1   Mechanism = 4
	MechanismHLSGMAC   Mechanism = 5
	MechanismHLSSHA256 Mechanism = 6
	MechanismHLSECDSA  Mechanism = 7
)

// String returns the mechanism's name.
func (m Mechanism) String() string {
	names := [...]string{"lowest", "lls", "hls", "hls-md5", "hls-sha1", "hls-gmac", "hls-sha256", "hls-ecdsa"}
	if int(m) < len(names) {
		return names[m]
	}
	return "mechanism " + strconv.Itoa(int(m))
}

// HLS reports whether the mechanism takes four passes.
func (m Mechanism) HLS() bool { return m >= MechanismHLS }

// InvocationID is an AP- or AE-invocation-identifier: an INTEGER that this module carries and gives no meaning. As
// calling-AE-invocation-identifier it names the user of the client (GB 4.3.6).
type InvocationID struct {
	// Present says whether the field is there.
	Present bool
	// Value is the number, whole when Present is set.
	Value int64
}

// Object identifiers 2.16.756.5.8.1 and 2.16.756.5.8.2, to which one octet is added.
const (
	oidContext   = "\x60\x85\x74\x05\x08\x01"
	oidMechanism = "\x60\x85\x74\x05\x08\x02"
)

// Tags inside the association's APDUs (GB 9.4.2): context-specific, primitive 0x80 or constructed 0xA0.
const (
	tagUserInformation  = 0xBE // [30]
	tagImplementation   = 0x9D // [29] IMPLICIT GraphicString, a primitive type,
	tagImplementationBD = 0xBD // which some write as if it were constructed
	tagContextName      = 0xA1 // [1]
	tagProtocolVersion  = 0x80 // [0] IMPLICIT BIT STRING
	tagCharString       = 0x80 // [0] IMPLICIT GraphicString, in an authentication value
	requirementUnused   = 7    // one bit used
	requirementAuthBit  = 0x80 // authentication (0)
	protocolVersion1Bit = 0x80 // version1 (0)
)

// fields goes through the fields of an association's APDU. They come in ascending order of their tag numbers, none
// twice, so that no later field can overrule one that was checked.
type fields struct {
	tag  byte
	body wire.Reader // of the field under way
	came fieldSet

	of   wire.Reader // over all of them
	last int
	open bool // body is to be joined
}

func fieldsOf(r wire.Reader) fields { return fields{of: r, last: -1} }

// next steps to the next field, and reports whether there is one.
func (f *fields) next() bool {
	if f.open {
		f.of.Join(&f.body)
		f.open = false
	}
	if f.of.Len() == 0 {
		return false
	}
	f.of.In("")
	f.tag = f.of.ElementInto(&f.body)
	number := int(f.tag & 0x1F)
	if f.of.Err() == nil && number <= f.last {
		f.of.Fail(fmt.Errorf("%w: field %#02x is out of order or comes twice", ErrValue, f.tag))
	}
	if f.of.Err() != nil {
		return false
	}
	f.last, f.open = number, true
	f.came |= 1 << number
	return true
}

// fieldSet has a bit for each tag number.
type fieldSet uint32

func (s fieldSet) has(number int) bool { return s&(1<<number) != 0 }

// unknownField refuses a field that the standard does not have here.
func unknownField(tag byte, body *wire.Reader) {
	body.In("")
	body.Fail(fmt.Errorf("%w: unknown field %#02x", ErrValue, tag))
}

// readOID reads an object identifier of the given arc and returns its last octet.
func readOID(body *wire.Reader, arc string) uint8 {
	p := body.Bytes(len(arc))
	if body.Err() == nil && string(p) != arc {
		body.Fail(fmt.Errorf("%w: object identifier %x is not of dlms", ErrValue, p))
	}
	return body.Uint8()
}

// readContextName reads the content of [1] EXPLICIT OBJECT IDENTIFIER.
func readContextName(body *wire.Reader) ApplicationContext {
	oid := body.In("application context").Expected(wire.TagOID)
	c := ApplicationContext(readOID(&oid, oidContext))
	if oid.Err() == nil && c == 0 {
		oid.Fail(fmt.Errorf("%w: 0", ErrValue))
	}
	body.Join(&oid)
	return c
}

// readProtocolVersion reads a BIT STRING that must have version1 (0); it is kept to be written as it came.
func readProtocolVersion(body *wire.Reader) []byte {
	p := body.In("protocol version").Rest()
	if body.Err() == nil && (len(p) < 2 || len(p) > 5 || p[0] > 7 || p[1]&protocolVersion1Bit == 0) {
		body.Fail(fmt.Errorf("%w: want version 1, got % x", ErrValue, p))
	}
	return p
}

// readRequirements reads a BIT STRING of ACSE requirements and returns its bit authentication (0). Application
// context negotiation, bit 1, is not part of DLMS/COSEM.
func readRequirements(body *wire.Reader) bool {
	unused := body.In("acse requirements").Uint8()
	bits := body.Uint8()
	if body.Err() == nil && (unused != requirementUnused || bits&requirementAuthBit == 0) {
		body.Fail(fmt.Errorf("%w: want 07 80, got %02x %02x", ErrValue, unused, bits))
	}
	if bits != requirementAuthBit {
		body.MarkLax()
	}
	return true
}

// readTitle reads the content of an AP title, an OCTET STRING that holds a system title.
func readTitle(body *wire.Reader) dlms.SystemTitle {
	p := body.In("system title").Explicit(wire.TagOctetString)
	if body.Err() != nil {
		return dlms.SystemTitle{}
	}
	t, err := systemTitle(p)
	if err != nil {
		body.Fail(err)
	}
	return t
}

// systemTitle takes a system title out of an APDU. A title of zeros is refused: it means "none" everywhere else.
func systemTitle(p []byte) (dlms.SystemTitle, error) {
	if len(p) != dlms.SystemTitleSize {
		return dlms.SystemTitle{}, fmt.Errorf("%w: want %d bytes, got %d", ErrLength, dlms.SystemTitleSize, len(p))
	}
	t := dlms.SystemTitle(p)
	if t.IsZero() {
		return dlms.SystemTitle{}, fmt.Errorf("%w: all zero", ErrValue)
	}
	return t, nil
}

// readAuthenticationValue reads the content of a CHOICE of which DLMS/COSEM uses charstring.
func readAuthenticationValue(body *wire.Reader) []byte {
	return body.In("authentication value").Explicit(tagCharString)
}

func readUserInformation(body *wire.Reader) []byte {
	return body.In("user information").Explicit(wire.TagOctetString)
}

func readOctets(body *wire.Reader, field string) []byte {
	return body.In(field).Explicit(wire.TagOctetString)
}

// readImplementation reads implementation information under either tag.
func readImplementation(tag byte, body *wire.Reader) []byte {
	if tag == tagImplementationBD {
		body.MarkLax()
	}
	return body.Rest()
}

// readInteger reads the content of an EXPLICIT INTEGER.
func readInteger(body *wire.Reader, field string) int64 {
	n := body.In(field).Expected(wire.TagInteger)
	v := n.Integer()
	body.Join(&n)
	return v
}

func readInvocationID(body *wire.Reader, field string) InvocationID {
	return InvocationID{Present: true, Value: readInteger(body, field)}
}

// appendOID appends tag, length and an object identifier of one more octet than arc.
func appendOID(dst []byte, tag byte, arc string, last uint8) []byte {
	dst = append(dst, tag, byte(len(arc)+1))
	return append(append(dst, arc...), last)
}

func appendContextName(dst []byte, c ApplicationContext) []byte {
	dst, mark := wire.Begin(dst, tagContextName)
	return wire.End(appendOID(dst, wire.TagOID, oidContext, uint8(c)), mark)
}

// appendExplicit appends content as an element of tag inner inside one of tag outer; nil is absent.
func appendExplicit(dst []byte, outer, inner byte, content []byte) []byte {
	if content == nil {
		return dst
	}
	dst, mark := wire.Begin(dst, outer)
	return wire.End(wire.AppendElement(dst, inner, content), mark)
}

// appendImplicit appends content under tag; nil is absent.
func appendImplicit(dst []byte, tag byte, content []byte) []byte {
	if content == nil {
		return dst
	}
	return wire.AppendElement(dst, tag, content)
}

func appendTitle(dst []byte, tag byte, t dlms.SystemTitle) []byte {
	if t.IsZero() {
		return dst
	}
	return appendExplicit(dst, tag, wire.TagOctetString, t[:])
}

func appendInvocationID(dst []byte, tag byte, id InvocationID) []byte {
	if !id.Present {
		return dst
	}
	dst, mark := wire.Begin(dst, tag)
	return wire.End(wire.AppendInteger(dst, wire.TagInteger, id.Value), mark)
}

// appendAuthentication appends the three fields of the authentication functional unit, under the tags of the AARQ
// or of the AARE.
func appendAuthentication(dst []byte, tags [3]byte, m Mechanism, value []byte) []byte {
	dst = append(dst, tags[0], 2, requirementUnused, requirementAuthBit)
	dst = appendOID(dst, tags[1], oidMechanism, uint8(m))
	return appendExplicit(dst, tags[2], tagCharString, value)
}
