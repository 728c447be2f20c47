package apdu

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

const (
	// DLMSVersion is the version of xDLMS that every association proposes (GB 9.4.4).
	DLMSVersion = 6
	// VAANameLN is the vaa-name of an association that uses logical names (GB 9.4.4).
	VAANameLN = 0x0007
	// maxDedicatedKey bounds the dedicated key: 32 bytes in suite 2.
	maxDedicatedKey = 32
)

// InitiateRequest opens the xDLMS context (GB 9.5); it travels in the user-information of the AARQ.
//
//	InitiateRequest ::= SEQUENCE {
//	  dedicated-key                OCTET STRING OPTIONAL,
//	  response-allowed             BOOLEAN DEFAULT TRUE,
//	  proposed-quality-of-service  [0] IMPLICIT Integer8 OPTIONAL,
//	  proposed-dlms-version-number Unsigned8,
//	  proposed-conformance         Conformance,
//	  client-max-receive-pdu-size  Unsigned16 }
//
// With a dedicated key it must be sent ciphered (GB 9.2.3.3.7.4); the caller answers for that. It prints and
// marshals without the key.
type InitiateRequest struct {
	// DedicatedKey is the session key, nil for none: 16 bytes in suites 0 and 1, 32 in suite 2. It aliases the
	// input after parsing.
	DedicatedKey []byte
	// ResponseAllowed is true for every association that is confirmed.
	ResponseAllowed bool
	// ProposedQoS is not used by DLMS/COSEM; nil is absent.
	ProposedQoS *int8
	// Version is the highest version of xDLMS that the client speaks: DLMSVersion.
	Version uint8
	// Conformance is what the client can do.
	Conformance Conformance
	// MaxPDU is the longest APDU that the client can receive, in bytes.
	MaxPDU uint16
}

// ParseInitiateRequest parses an InitiateRequest without protection.
func ParseInitiateRequest(b []byte) (InitiateRequest, error) {
	r := wire.NewReader(b)
	q := readInitiateRequest(&r)
	if err := done(&r, TagInitiateRequest); err != nil {
		return InitiateRequest{}, err
	}
	return q, nil
}

func readInitiateRequest(r *wire.Reader) InitiateRequest {
	var q InitiateRequest
	expectTag(r, TagInitiateRequest)
	if r.In("dedicated key").Optional() {
		q.DedicatedKey = r.OctetString()
		if n := len(q.DedicatedKey); r.Err() == nil && n != 16 && n != maxDedicatedKey {
			r.Fail(fmt.Errorf("%w: want 16 or %d bytes, got %d", ErrLength, maxDedicatedKey, n))
		}
	}
	q.ResponseAllowed = readResponseAllowed(r)
	q.ProposedQoS = readQoS(r)
	q.Version = r.In("dlms version").Uint8()
	q.Conformance = readConformance(r)
	q.MaxPDU = r.In("client max receive pdu size").Uint16()
	return q
}

// readResponseAllowed reads a BOOLEAN DEFAULT TRUE: a flag 0 stands for the default.
func readResponseAllowed(r *wire.Reader) bool {
	if !r.In("response allowed").Optional() {
		return true
	}
	v := r.Bool()
	if v {
		r.MarkLax()
	}
	return v
}

func readQoS(r *wire.Reader) *int8 {
	if !r.In("quality of service").Optional() {
		return nil
	}
	v := int8(r.Uint8())
	return &v
}

func appendQoS(dst []byte, v *int8) []byte {
	if v == nil {
		return append(dst, 0)
	}
	return append(dst, 1, byte(*v))
}

// AppendBinary appends the request without protection.
func (q InitiateRequest) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, byte(TagInitiateRequest))
	dst = wire.AppendBool(dst, q.DedicatedKey != nil)
	if n := len(q.DedicatedKey); q.DedicatedKey != nil {
		if n != 16 && n != maxDedicatedKey {
			return nil, fmt.Errorf("append initiate-request: dedicated key: want 16 or %d bytes, got %d", maxDedicatedKey, n)
		}
		dst = wire.AppendOctetString(dst, q.DedicatedKey)
	}
	if q.ResponseAllowed {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1, 0)
	}
	dst = appendQoS(dst, q.ProposedQoS)
	dst, err := q.Conformance.append(append(dst, q.Version))
	if err != nil {
		return nil, fmt.Errorf("append initiate-request: %w", err)
	}
	return binary.BigEndian.AppendUint16(dst, q.MaxPDU), nil
}

// String returns the request without its key.
func (q InitiateRequest) String() string {
	key := "none"
	if q.DedicatedKey != nil {
		key = "present"
	}
	return fmt.Sprintf("initiate-request{dedicated key %s, version %d, conformance %s, max pdu %d}",
		key, q.Version, q.Conformance, q.MaxPDU)
}

// Format prints String for every verb, so that no verb shows the key.
func (q InitiateRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, q.String()) }

// MarshalText keeps the key out of JSON and of structured logs.
func (q InitiateRequest) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// InitiateResponse accepts the xDLMS context (GB 9.5); it travels in the user-information of the AARE.
//
//	InitiateResponse ::= SEQUENCE {
//	  negotiated-quality-of-service  [0] IMPLICIT Integer8 OPTIONAL,
//	  negotiated-dlms-version-number Unsigned8,
//	  negotiated-conformance         Conformance,
//	  server-max-receive-pdu-size    Unsigned16,
//	  vaa-name                       ObjectName }
type InitiateResponse struct {
	// QoS is not used by DLMS/COSEM; nil is absent.
	QoS *int8
	// Version is the version of xDLMS in use: DLMSVersion.
	Version uint8
	// Conformance is what both ends can do.
	Conformance Conformance
	// MaxPDU is the longest APDU that the server can receive, in bytes.
	MaxPDU uint16
	// VAAName is VAANameLN, or for short names the base name of the association object.
	VAAName uint16
}

// ParseInitiateResponse parses an InitiateResponse without protection.
func ParseInitiateResponse(b []byte) (InitiateResponse, error) {
	r := wire.NewReader(b)
	p := readInitiateResponse(&r)
	if err := done(&r, TagInitiateResponse); err != nil {
		return InitiateResponse{}, err
	}
	return p, nil
}

func readInitiateResponse(r *wire.Reader) InitiateResponse {
	var p InitiateResponse
	expectTag(r, TagInitiateResponse)
	p.QoS = readQoS(r)
	p.Version = r.In("dlms version").Uint8()
	p.Conformance = readConformance(r)
	p.MaxPDU = r.In("server max receive pdu size").Uint16()
	p.VAAName = r.In("vaa name").Uint16()
	return p
}

// AppendBinary appends the response without protection.
func (p InitiateResponse) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendQoS(append(dst, byte(TagInitiateResponse)), p.QoS)
	dst, err := p.Conformance.append(append(dst, p.Version))
	if err != nil {
		return nil, fmt.Errorf("append initiate-response: %w", err)
	}
	dst = binary.BigEndian.AppendUint16(dst, p.MaxPDU)
	return binary.BigEndian.AppendUint16(dst, p.VAAName), nil
}
