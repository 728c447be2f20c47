package apdu

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// StateError is the state-error of an ExceptionResponse (GB 9.5).
type StateError uint8

// State errors.
const (
	StateServiceNotAllowed StateError = 1
	StateServiceUnknown    StateError = 2
)

// String returns the name that the standard gives the error.
func (e StateError) String() string {
	switch e {
	case StateServiceNotAllowed:
		return "service-not-allowed"
	case StateServiceUnknown:
		return "service-unknown"
	}
	return "state error " + strconv.Itoa(int(e))
}

// ServiceError is the service-error of an ExceptionResponse (GB 9.5).
type ServiceError uint8

// Service errors.
const (
	ServiceOperationNotPossible ServiceError = 1
	ServiceNotSupported         ServiceError = 2
	ServiceOtherReason          ServiceError = 3
	ServicePDUTooLong           ServiceError = 4
	ServiceDecipheringError     ServiceError = 5
	ServiceInvocationCounter    ServiceError = 6
)

// String returns the name that the standard gives the error.
func (e ServiceError) String() string {
	names := [...]string{
		"operation-not-possible", "service-not-supported", "other-reason", "pdu-too-long", "deciphering-error",
		"invocation-counter-error",
	}
	if i := int(e) - 1; i >= 0 && i < len(names) {
		return names[i]
	}
	return "service error " + strconv.Itoa(int(e))
}

// ExceptionResponse refuses an APDU that could not be served at all (GB 9.5). It is never protected: nothing may be
// concluded from it but that an answer came.
//
//	ExceptionResponse ::= SEQUENCE { state-error [0] IMPLICIT ENUMERATED, service-error [1] CHOICE {
//	  operation-not-possible [1] IMPLICIT NULL, ..., invocation-counter-error [6] IMPLICIT Unsigned32 } }
type ExceptionResponse struct {
	// StateError and ServiceError are the two codes.
	StateError   StateError
	ServiceError ServiceError
	// InvocationCounter is the lowest that is accepted; sent with ServiceInvocationCounter only.
	InvocationCounter dlms.InvocationCounter
}

// ParseExceptionResponse parses an ExceptionResponse.
func ParseExceptionResponse(b []byte) (ExceptionResponse, error) {
	r := wire.NewReader(b)
	e := readExceptionResponse(&r)
	if err := done(&r, TagExceptionResponse); err != nil {
		return ExceptionResponse{}, err
	}
	return e, nil
}

func readExceptionResponse(r *wire.Reader) ExceptionResponse {
	var e ExceptionResponse
	expectTag(r, TagExceptionResponse)
	e.StateError = StateError(r.In("state error").Uint8())
	e.ServiceError = ServiceError(r.In("service error").Uint8())
	if e.ServiceError == ServiceInvocationCounter {
		e.InvocationCounter = dlms.InvocationCounter(r.In("invocation counter").Uint32())
	}
	return e
}

// AppendBinary appends the response.
func (e ExceptionResponse) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, byte(TagExceptionResponse), byte(e.StateError), byte(e.ServiceError))
	if e.ServiceError == ServiceInvocationCounter {
		dst = appendNumber(dst, uint32(e.InvocationCounter))
	}
	return dst, nil
}

// Error makes a refusal usable with errors.As.
func (e ExceptionResponse) Error() string {
	if e.ServiceError == ServiceInvocationCounter {
		return fmt.Sprintf("exception: %s, %s, expected counter %s", e.StateError, e.ServiceError, e.InvocationCounter)
	}
	return fmt.Sprintf("exception: %s, %s", e.StateError, e.ServiceError)
}

// ConfirmedService is the service that a ConfirmedServiceError is about (GB 9.5).
type ConfirmedService uint8

// Services that DLMS/COSEM uses here.
const (
	ConfirmedInitiate ConfirmedService = 1
	ConfirmedRead     ConfirmedService = 5
	ConfirmedWrite    ConfirmedService = 6
)

// maxConfirmedService is the last service of the choice, terminateUpLoad.
const maxConfirmedService ConfirmedService = 19

// ErrorClass is the choice of a ServiceError in a ConfirmedServiceError (GB 9.5).
type ErrorClass uint8

// Error classes.
const (
	ErrorClassApplicationReference ErrorClass = 0
	ErrorClassHardwareResource     ErrorClass = 1
	ErrorClassVDEState             ErrorClass = 2
	ErrorClassService              ErrorClass = 3
	ErrorClassDefinition           ErrorClass = 4
	ErrorClassAccess               ErrorClass = 5
	ErrorClassInitiate             ErrorClass = 6
	ErrorClassLoadDataSet          ErrorClass = 7
	ErrorClassTask                 ErrorClass = 9
)

// String returns the name that the standard gives the class.
func (c ErrorClass) String() string {
	names := [...]string{
		"application-reference", "hardware-resource", "vde-state-error", "service", "definition", "access", "initiate",
		"load-data-set", "change-scope", "task", "other",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return "error class " + strconv.Itoa(int(c))
}

// Values of ErrorClassInitiate, why an association was refused.
const (
	InitiateOther                   uint8 = 0
	InitiateDLMSVersionTooLow       uint8 = 1
	InitiateIncompatibleConformance uint8 = 2
	InitiatePDUSizeTooShort         uint8 = 3
	InitiateRefusedByVDEHandler     uint8 = 4
)

// ApplicationReferenceDeciphering is the value of ErrorClassApplicationReference for an error of the deciphering
// function.
const ApplicationReferenceDeciphering uint8 = 6

// ConfirmedServiceError refuses an InitiateRequest, in the user-information of the AARE (GB 9.5).
//
//	ConfirmedServiceError ::= CHOICE { initiateError [1] ServiceError, ..., read [5], write [6], ... }
//	ServiceError ::= CHOICE { application-reference [0] IMPLICIT ENUMERATED, ..., initiate [6], ... }
type ConfirmedServiceError struct {
	// Service is the service that was refused, ConfirmedInitiate in an AARE.
	Service ConfirmedService
	// Class is the kind of the error, and Value its code within the class.
	Class ErrorClass
	Value uint8
}

// ParseConfirmedServiceError parses a ConfirmedServiceError.
func ParseConfirmedServiceError(b []byte) (ConfirmedServiceError, error) {
	r := wire.NewReader(b)
	e := readConfirmedServiceError(&r)
	if err := done(&r, TagConfirmedServiceError); err != nil {
		return ConfirmedServiceError{}, err
	}
	return e, nil
}

func readConfirmedServiceError(r *wire.Reader) ConfirmedServiceError {
	var e ConfirmedServiceError
	expectTag(r, TagConfirmedServiceError)
	e.Service = ConfirmedService(r.In("service").Uint8())
	if r.Err() == nil && (e.Service == 0 || e.Service > maxConfirmedService) {
		r.Fail(fmt.Errorf("%w: %d", ErrValue, e.Service))
	}
	e.Class = ErrorClass(r.In("error class").Uint8())
	e.Value = r.In("error value").Uint8()
	return e
}

// AppendBinary appends the error.
func (e ConfirmedServiceError) AppendBinary(dst []byte) ([]byte, error) {
	return append(dst, byte(TagConfirmedServiceError), byte(e.Service), byte(e.Class), e.Value), nil
}

// Error makes a refusal usable with errors.As.
func (e ConfirmedServiceError) Error() string {
	return fmt.Sprintf("confirmed service error: service %d, %s %d", e.Service, e.Class, e.Value)
}
