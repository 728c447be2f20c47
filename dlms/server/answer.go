package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// exception writes an exception-response (GB 9.4.5, 9.5). Its two codes always encode.
func exception(state apdu.StateError, service apdu.ServiceError) []byte {
	return []byte{byte(apdu.TagExceptionResponse), byte(state), byte(service)}
}

// counterException tells an authentic client the lowest counter that will be taken.
func counterException(expected dlms.InvocationCounter) []byte {
	return append(exception(apdu.StateServiceNotAllowed, apdu.ServiceInvocationCounter),
		byte(expected>>24), byte(expected>>16), byte(expected>>8), byte(expected))
}

// accepted returns dst with an AARE that accepts. It is silent where the AARE cannot be written; its fields are the
// server's own.
func (c *call) accepted(e apdu.AARE) []byte {
	e.Result = apdu.AssociationAccepted
	b, err := e.AppendBinary(c.dst)
	if err != nil {
		return c.dst
	}
	return b
}

// rejected writes an AARE that does not accept, or nothing, as accepted.
func rejected(ctx apdu.ApplicationContext, r apdu.AssociationResult, d apdu.Diagnostic, info []byte) []byte {
	b, err := apdu.AARE{Context: ctx, Result: r, Diagnostic: d, UserInformation: info}.AppendBinary(nil)
	if err != nil {
		return nil
	}
	return b
}
