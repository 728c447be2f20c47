package apdu

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// AssociationResult is the result of an AARE (GB 9.4.2.2.5).
type AssociationResult uint8

// Association results.
const (
	AssociationAccepted          AssociationResult = 0
	AssociationRejectedPermanent AssociationResult = 1
	AssociationRejectedTransient AssociationResult = 2
)

// String returns the name that the standard gives the result.
func (v AssociationResult) String() string {
	switch v {
	case AssociationAccepted:
		return "accepted"
	case AssociationRejectedPermanent:
		return "rejected-permanent"
	case AssociationRejectedTransient:
		return "rejected-transient"
	}
	return "association result " + strconv.Itoa(int(v))
}

// Diagnostic is the result-source-diagnostic of an AARE (GB 9.4.2.2.5): in the high byte who speaks, 1 the ACSE
// service user or 2 its provider, in the low byte what it says.
type Diagnostic uint16

// Diagnostics of the ACSE service user.
const (
	DiagnosticNull                   Diagnostic = 0x100
	DiagnosticNoReason               Diagnostic = 0x101
	DiagnosticContextNotSupported    Diagnostic = 0x102
	DiagnosticCallingTitleUnknown    Diagnostic = 0x103
	DiagnosticCallingAPIDUnknown     Diagnostic = 0x104
	DiagnosticCallingAEUnknown       Diagnostic = 0x105
	DiagnosticCallingAEIDUnknown     Diagnostic = 0x106
	DiagnosticCalledTitleUnknown     Diagnostic = 0x107
	DiagnosticCalledAPIDUnknown      Diagnostic = 0x108
	DiagnosticCalledAEUnknown        Diagnostic = 0x109
	DiagnosticCalledAEIDUnknown      Diagnostic = 0x10A
	DiagnosticMechanismUnknown       Diagnostic = 0x10B
	DiagnosticMechanismRequired      Diagnostic = 0x10C
	DiagnosticAuthenticationFailure  Diagnostic = 0x10D
	DiagnosticAuthenticationRequired Diagnostic = 0x10E
)

// Diagnostics of the ACSE service provider.
const (
	DiagnosticProviderNull     Diagnostic = 0x200
	DiagnosticProviderNoReason Diagnostic = 0x201
	DiagnosticNoCommonVersion  Diagnostic = 0x202
)

// Provider reports whether the ACSE service provider speaks, not its user.
func (d Diagnostic) Provider() bool { return d>>8 == 2 }

// String returns the name that the standard gives the diagnostic.
func (d Diagnostic) String() string {
	names := [...]string{
		"null", "no-reason-given", "application-context-name-not-supported", "calling-ap-title-not-recognized",
		"calling-ap-invocation-identifier-not-recognized", "calling-ae-qualifier-not-recognized",
		"calling-ae-invocation-identifier-not-recognized", "called-ap-title-not-recognized",
		"called-ap-invocation-identifier-not-recognized", "called-ae-qualifier-not-recognized",
		"called-ae-invocation-identifier-not-recognized", "authentication-mechanism-name-not-recognised",
		"authentication-mechanism-name-required", "authentication-failure", "authentication-required",
	}
	code := int(d & 0xFF)
	switch {
	case d == DiagnosticNoCommonVersion:
		return "no-common-acse-version"
	case d.Provider() && code < 2, !d.Provider() && code < len(names):
		return names[code]
	}
	return fmt.Sprintf("diagnostic %#04x", uint16(d))
}

// AARE answers an AARQ (GB 9.4.2). It is never protected itself: its user information may be.
//
//	AARE-apdu ::= [APPLICATION 1] IMPLICIT SEQUENCE {
//	  protocol-version                    [0]  IMPLICIT BIT STRING DEFAULT {version1},
//	  application-context-name            [1],
//	  result                              [2],
//	  result-source-diagnostic            [3],
//	  responding-AP-title                 [4]  OPTIONAL,
//	  responding-AE-qualifier             [5]  OPTIONAL,
//	  responding-AP-invocation-identifier [6]  OPTIONAL,
//	  responding-AE-invocation-identifier [7]  OPTIONAL,
//	  responder-acse-requirements         [8]  IMPLICIT OPTIONAL,
//	  mechanism-name                      [9]  IMPLICIT OPTIONAL,
//	  responding-authentication-value     [10] EXPLICIT OPTIONAL,
//	  implementation-information          [29] IMPLICIT OPTIONAL,
//	  user-information                    [30] EXPLICIT OPTIONAL }
//
// For byte fields nil is absent and empty is present and empty.
type AARE struct {
	// ProtocolVersion is the content of the BIT STRING as it came; nil, the default, is what we send.
	ProtocolVersion []byte
	// Context is the application context, that of the AARQ in every AARE that accepts.
	Context ApplicationContext
	// Result says whether the association is accepted, Diagnostic why it is not, or that HLS follows.
	Result     AssociationResult
	Diagnostic Diagnostic
	// RespondingTitle is the server's system title, zero for none.
	RespondingTitle dlms.SystemTitle
	// RespondingAEQualifier is carried and has no meaning here; a certificate in suites 1 and 2.
	RespondingAEQualifier []byte
	// RespondingAPID and RespondingAEID are carried and have no meaning here.
	RespondingAPID InvocationID
	RespondingAEID InvocationID
	// Authentication says whether the authentication functional unit is used, and with it Mechanism and
	// AuthenticationValue.
	Authentication bool
	Mechanism      Mechanism
	// AuthenticationValue is the server's challenge of HLS.
	AuthenticationValue []byte
	// Implementation is the implementation-information, a text of the maker.
	Implementation []byte
	// UserInformation is the InitiateResponse, plain or ciphered, or a ConfirmedServiceError.
	UserInformation []byte
}

// ParseAARE parses an AARE.
func ParseAARE(b []byte) (AARE, error) {
	r := wire.NewReader(b)
	e := readAARE(&r)
	if err := done(&r, TagAARE); err != nil {
		return AARE{}, err
	}
	return e, nil
}

func readAARE(r *wire.Reader) AARE {
	var e AARE
	if got, ok := r.Peek(); ok && Tag(got) != TagAARE {
		expectTag(r, TagAARE)
	}
	_, body := r.Element()
	f := fieldsOf(body)
	for f.next() {
		e.readField(f.tag, &f.body)
	}
	body = f.of
	if body.Err() == nil && !(f.came.has(1) && f.came.has(2) && f.came.has(3)) {
		body.In("").Fail(errors.New("application context, result or diagnostic is missing"))
	}
	if e.Authentication && !f.came.has(9) {
		body.MarkLax()
	}
	r.Join(&body)
	return e
}

func (e *AARE) readField(tag byte, body *wire.Reader) {
	switch tag {
	case tagProtocolVersion:
		e.ProtocolVersion = readProtocolVersion(body)
	case tagContextName:
		e.Context = readContextName(body)
	case 0xA2:
		e.Result = AssociationResult(readCode(body, "result", int64(AssociationRejectedTransient)))
	case 0xA3:
		e.Diagnostic = readDiagnostic(body)
	case 0xA4:
		e.RespondingTitle = readTitle(body)
	case 0xA5:
		e.RespondingAEQualifier = readOctets(body, "responding ae qualifier")
	case 0xA6:
		e.RespondingAPID = readInvocationID(body, "responding ap invocation id")
	case 0xA7:
		e.RespondingAEID = readInvocationID(body, "responding ae invocation id")
	default:
		e.readLateField(tag, body)
	}
}

func (e *AARE) readLateField(tag byte, body *wire.Reader) {
	switch tag {
	case 0x88:
		e.Authentication = readRequirements(body)
	case 0x89:
		e.Mechanism = readMechanism(body, &e.Authentication)
	case 0xAA:
		e.AuthenticationValue = readAuthenticationValue(body)
		requireAuthentication(body, e.Authentication)
	case tagImplementation, tagImplementationBD:
		e.Implementation = readImplementation(tag, body)
	case tagUserInformation:
		e.UserInformation = readUserInformation(body)
	default:
		unknownField(tag, body)
	}
}

// readCode reads the content of an EXPLICIT INTEGER from 0 to limit.
func readCode(body *wire.Reader, field string, limit int64) int64 {
	v := readInteger(body, field)
	if body.Err() == nil && (v < 0 || v > limit) {
		body.Fail(fmt.Errorf("%w: want 0 to %d, got %d", ErrValue, limit, v))
		return 0
	}
	return v
}

// readDiagnostic reads a CHOICE of two EXPLICIT INTEGERs.
func readDiagnostic(body *wire.Reader) Diagnostic {
	tag, source := body.In("result source diagnostic").Element()
	if body.Err() == nil && tag != 0xA1 && tag != 0xA2 {
		body.Fail(fmt.Errorf("%w: want tag 0xa1 or 0xa2, got %#02x", ErrValue, tag))
	}
	code := readCode(&source, "result source diagnostic", 0xFF)
	body.Join(&source)
	return Diagnostic(tag&0x1F)<<8 | Diagnostic(code)
}

// AppendBinary appends the AARE. A zero Diagnostic is sent as DiagnosticNull.
func (e AARE) AppendBinary(dst []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("append aare: %w", err)
	}
	dst, mark := wire.Begin(dst, byte(TagAARE))
	dst = appendImplicit(dst, tagProtocolVersion, e.ProtocolVersion)
	dst = appendContextName(dst, e.Context)
	dst = appendInvocationID(dst, 0xA2, InvocationID{Present: true, Value: int64(e.Result)})
	dst = e.Diagnostic.append(dst)
	dst = appendTitle(dst, 0xA4, e.RespondingTitle)
	dst = appendExplicit(dst, 0xA5, wire.TagOctetString, e.RespondingAEQualifier)
	dst = appendInvocationID(dst, 0xA6, e.RespondingAPID)
	dst = appendInvocationID(dst, 0xA7, e.RespondingAEID)
	if e.Authentication {
		dst = appendAuthentication(dst, [3]byte{0x88, 0x89, 0xAA}, e.Mechanism, e.AuthenticationValue)
	}
	dst = appendImplicit(dst, tagImplementation, e.Implementation)
	dst = appendExplicit(dst, tagUserInformation, wire.TagOctetString, e.UserInformation)
	return wire.End(dst, mark), nil
}

func (e AARE) check() error {
	switch {
	case e.Context == 0:
		return errors.New("no application context")
	case e.Result > AssociationRejectedTransient:
		return fmt.Errorf("%w: %s", ErrValue, e.Result)
	case e.Diagnostic>>8 > 2:
		return fmt.Errorf("%w: %s", ErrValue, e.Diagnostic)
	case !e.Authentication && (e.Mechanism != MechanismLowest || e.AuthenticationValue != nil):
		return errors.New("mechanism or authentication value without authentication")
	}
	return nil
}

func (d Diagnostic) append(dst []byte) []byte {
	source := byte(0xA1)
	if d.Provider() {
		source = 0xA2
	}
	dst, outer := wire.Begin(dst, 0xA3)
	dst, inner := wire.Begin(dst, source)
	dst = wire.AppendInteger(dst, wire.TagInteger, int64(d&0xFF))
	return wire.End(wire.End(dst, inner), outer)
}
