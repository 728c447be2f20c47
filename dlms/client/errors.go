package client

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Errors of associations.
var (
	// ErrState is returned for an operation that the association's state does not allow.
	ErrState = errors.New("client: not possible in this state")
	// ErrBroken is returned by an association after a failure in the middle of an exchange: whether the last request
	// took effect is unknown. Open a new association and look.
	ErrBroken = errors.New("client: association broken, the outcome of its last request is unknown; open a new one")
	// ErrTimeout is returned when no acceptable answer came in time.
	ErrTimeout = errors.New("client: no answer in time")
	// ErrAnswer is returned for an answer that is no answer to the request.
	ErrAnswer = errors.New("client: unexpected answer")
	// ErrUnprotected is returned for an answer in another form of protection than the request's.
	ErrUnprotected = errors.New("client: answer is not protected as the request was")
	// ErrAuthentication is returned when the meter does not prove that it holds the key.
	ErrAuthentication = errors.New("client: the meter is not authentic")
	// ErrTooLong is returned for a request that the meter cannot take in one APDU, nor in blocks.
	ErrTooLong = errors.New("client: request longer than the meter takes")
	// ErrTooMuch is returned for a value in blocks beyond Config.MaxData.
	ErrTooMuch = errors.New("client: value too large")
	// ErrBroadcast is returned for a confirmed service in the association of a broadcast key.
	ErrBroadcast = errors.New("client: a broadcast key carries no confirmed service")
)

// RejectError is an AARE that rejects (GB 9.4.2.2.5). It comes in clear and proves nothing.
type RejectError struct {
	// Result says whether a later try may succeed, Diagnostic why this one did not.
	Result     apdu.AssociationResult
	Diagnostic apdu.Diagnostic
	// Initiate is why the InitiateRequest was refused, where the AARE says so.
	Initiate *apdu.ConfirmedServiceError
}

// Error names result and diagnostic.
func (e *RejectError) Error() string {
	if e.Initiate != nil {
		return fmt.Sprintf("client: association rejected: %s, %s: %s", e.Result, e.Diagnostic, e.Initiate)
	}
	return fmt.Sprintf("client: association rejected: %s, %s", e.Result, e.Diagnostic)
}

// ExceptionError is an exception-response (GB 9.5). It comes in clear and proves nothing.
type ExceptionError struct {
	apdu.ExceptionResponse
}

// Error names the state and service errors, and the counter that the meter says it expects.
func (e *ExceptionError) Error() string {
	return "client: the meter answers " + e.ExceptionResponse.Error()
}

// Expected returns the lowest counter that the meter says it accepts. Anybody can say so: a sending counter may be
// raised by it within bounds, and is never lowered.
func (e *ExceptionError) Expected() (dlms.InvocationCounter, bool) {
	return e.InvocationCounter, e.ExceptionResponse.ServiceError == apdu.ServiceInvocationCounter
}

// ServiceError is a confirmed-service-error (GB 9.5).
type ServiceError struct {
	apdu.ConfirmedServiceError
}

// Error names the service and the error.
func (e *ServiceError) Error() string {
	return "client: the meter answers " + e.ConfirmedServiceError.Error()
}
