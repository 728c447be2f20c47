package link

import "context"

// Appender is implemented by a [Handler] that can write its answer behind what the link has written already, so that a
// link needs one buffer for a connection.
type Appender interface {
	// AppendAPDU is HandleAPDU with the answer appended to dst. Silence returns dst as it is. r.APDU and dst must not
	// overlap.
	AppendAPDU(ctx context.Context, r Request, dst []byte) []byte
}
