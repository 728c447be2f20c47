package apdu

import (
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// AARQ asks for an association (GB 9.4.2). It is never protected itself: its user information may be.
//
//	AARQ-apdu ::= [APPLICATION 0] IMPLICIT SEQUENCE {
//	  protocol-version                 [0]  IMPLICIT BIT STRING DEFAULT {version1},
//	  application-context-name         [1],
//	  called-AP-title                  [2]  OPTIONAL,
//	  called-AE-qualifier              [3]  OPTIONAL,
//	  called-AP-invocation-identifier  [4]  OPTIONAL,
//	  called-AE-invocation-identifier  [5]  OPTIONAL,
//	  calling-AP-title                 [6]  OPTIONAL,
//	  calling-AE-qualifier             [7]  OPTIONAL,
//	  calling-AP-invocation-identifier [8]  OPTIONAL,
//	  calling-AE-invocation-identifier [9]  OPTIONAL,
//	  sender-acse-requirements         [10] IMPLICIT OPTIONAL,
//	  mechanism-name                   [11] IMPLICIT OPTIONAL,
//	  calling-authentication-value     [12] EXPLICIT OPTIONAL,
//	  implementation-information       [29] IMPLICIT OPTIONAL,
//	  user-information                 [30] EXPLICIT OPTIONAL }
//
// For byte fields nil is absent and empty is present and empty. The authentication value may be a password: an AARQ
// prints and marshals without it and without the user information.
type AARQ struct {
	// ProtocolVersion is the content of the BIT STRING as it came; nil, the default, is what we send.
	ProtocolVersion []byte
	// Context is the application context asked for; 0 is refused.
	Context ApplicationContext
	// CalledAPTitle, CalledAEQualifier, CalledAPID and CalledAEID name the server. They are carried and have no
	// meaning here.
	CalledAPTitle     []byte
	CalledAEQualifier []byte
	CalledAPID        InvocationID
	CalledAEID        InvocationID
	// CallingTitle is the client's system title, zero for none.
	CallingTitle dlms.SystemTitle
	// CallingAEQualifier is carried and has no meaning here; the client's certificate in suites 1 and 2.
	CallingAEQualifier []byte
	// CallingAPID is carried and has no meaning here; CallingAEID names the user of the client (GB 4.3.6).
	CallingAPID InvocationID
	CallingAEID InvocationID
	// Authentication says whether the authentication functional unit is used, and with it Mechanism and
	// AuthenticationValue.
	Authentication bool
	Mechanism      Mechanism
	// AuthenticationValue is the password of LLS or the challenge of HLS.
	AuthenticationValue []byte
	// Implementation is the implementation-information, in clear and not authenticated.
	Implementation []byte
	// UserInformation is the InitiateRequest, plain or ciphered.
	UserInformation []byte
}

// ParseAARQ parses an AARQ.
func ParseAARQ(b []byte) (AARQ, error) {
	r := wire.NewReader(b)
	q := readAARQ(&r)
	if err := done(&r, TagAARQ); err != nil {
		return AARQ{}, err
	}
	return q, nil
}

func readAARQ(r *wire.Reader) AARQ {
	var q AARQ
	if got, ok := r.Peek(); ok && Tag(got) != TagAARQ {
		expectTag(r, TagAARQ)
	}
	_, body := r.Element()
	f := fieldsOf(body)
	for f.next() {
		q.readField(f.tag, &f.body)
	}
	body = f.of
	if body.Err() == nil && !f.came.has(1) {
		body.In("").Fail(errors.New("no application context name"))
	}
	if q.Authentication && !f.came.has(11) {
		body.MarkLax()
	}
	r.Join(&body)
	return q
}

func (q *AARQ) readField(tag byte, body *wire.Reader) {
	switch tag {
	case tagProtocolVersion:
		q.ProtocolVersion = readProtocolVersion(body)
	case tagContextName:
		q.Context = readContextName(body)
	case 0xA2:
		q.CalledAPTitle = readOctets(body, "called ap title")
	case 0xA3:
		q.CalledAEQualifier = readOctets(body, "called ae qualifier")
	case 0xA4:
		q.CalledAPID = readInvocationID(body, "called ap invocation id")
	case 0xA5:
		q.CalledAEID = readInvocationID(body, "called ae invocation id")
	case 0xA6:
		q.CallingTitle = readTitle(body)
	case 0xA7:
		q.CallingAEQualifier = readOctets(body, "calling ae qualifier")
	case 0xA8:
		q.CallingAPID = readInvocationID(body, "calling ap invocation id")
	case 0xA9:
		q.CallingAEID = readInvocationID(body, "calling ae invocation id")
	default:
		q.readLateField(tag, body)
	}
}

func (q *AARQ) readLateField(tag byte, body *wire.Reader) {
	switch tag {
	case 0x8A:
		q.Authentication = readRequirements(body)
	case 0x8B:
		q.Mechanism = readMechanism(body, &q.Authentication)
	case 0xAC:
		q.AuthenticationValue = readAuthenticationValue(body)
		requireAuthentication(body, q.Authentication)
	case tagImplementation, tagImplementationBD:
		q.Implementation = readImplementation(tag, body)
	case tagUserInformation:
		q.UserInformation = readUserInformation(body)
	default:
		unknownField(tag, body)
	}
}

// readMechanism reads the content of [11] or [9] IMPLICIT OBJECT IDENTIFIER. A mechanism without the ACSE
// requirements is let pass: it says the same.
func readMechanism(body *wire.Reader, authentication *bool) Mechanism {
	m := Mechanism(readOID(body.In("mechanism name"), oidMechanism))
	if !*authentication {
		*authentication = true
		body.MarkLax()
	}
	return m
}

// requireAuthentication refuses an authentication value to which nothing gives a meaning.
func requireAuthentication(body *wire.Reader, authentication bool) {
	if !authentication {
		body.Fail(fmt.Errorf("%w: without acse requirements and mechanism name", ErrValue))
	}
}

// AppendBinary appends the AARQ.
func (q AARQ) AppendBinary(dst []byte) ([]byte, error) {
	if q.Context == 0 {
		return nil, errors.New("append aarq: no application context")
	}
	if !q.Authentication && (q.Mechanism != MechanismLowest || q.AuthenticationValue != nil) {
		return nil, errors.New("append aarq: mechanism or authentication value without authentication")
	}
	dst, mark := wire.Begin(dst, byte(TagAARQ))
	dst = appendImplicit(dst, tagProtocolVersion, q.ProtocolVersion)
	dst = appendContextName(dst, q.Context)
	dst = appendExplicit(dst, 0xA2, wire.TagOctetString, q.CalledAPTitle)
	dst = appendExplicit(dst, 0xA3, wire.TagOctetString, q.CalledAEQualifier)
	dst = appendInvocationID(dst, 0xA4, q.CalledAPID)
	dst = appendInvocationID(dst, 0xA5, q.CalledAEID)
	dst = appendTitle(dst, 0xA6, q.CallingTitle)
	dst = appendExplicit(dst, 0xA7, wire.TagOctetString, q.CallingAEQualifier)
	dst = appendInvocationID(dst, 0xA8, q.CallingAPID)
	dst = appendInvocationID(dst, 0xA9, q.CallingAEID)
	if q.Authentication {
		dst = appendAuthentication(dst, [3]byte{0x8A, 0x8B, 0xAC}, q.Mechanism, q.AuthenticationValue)
	}
	dst = appendImplicit(dst, tagImplementation, q.Implementation)
	dst = appendExplicit(dst, tagUserInformation, wire.TagOctetString, q.UserInformation)
	return wire.End(dst, mark), nil
}

// String returns the AARQ without its authentication value and user information.
func (q AARQ) String() string {
	mechanism := "none"
	if q.Authentication {
		mechanism = q.Mechanism.String()
	}
	return fmt.Sprintf("aarq{context %s, title %s, mechanism %s, authentication value of %d bytes, user information of %d bytes}",
		q.Context, q.CallingTitle, mechanism, len(q.AuthenticationValue), len(q.UserInformation))
}

// Format prints String for every verb, so that no verb shows a password or a key.
func (q AARQ) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, q.String()) }

// MarshalText keeps passwords and keys out of JSON and of structured logs.
func (q AARQ) MarshalText() ([]byte, error) { return []byte(q.String()), nil }
