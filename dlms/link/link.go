// Package link is the seam between the DLMS application layer and what carries it: one APDU out, one APDU in.
//
// The packages below it are links: wrapper (TCP and UDP, IEC 62056-47) and hdlc (IEC 62056-46). A client holds a
// [Conn]; a server hands a [Handler] to the Serve function of a link.
//
// A link gives no security. Addresses are what the sender wrote, a disconnect can be sent by a stranger, and
// frames may be lost, repeated or made up. Whoever answers must decide by the ciphering of the APDU alone.
package link

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// ErrClosed is returned by a [Conn] after Close.
var ErrClosed = errors.New("link: closed")

// ErrBroken is returned by a [Conn] whose stream can no longer be trusted to start at a frame: a frame was cut in
// the middle of a write, or what came in was no frame. Dial again.
var ErrBroken = errors.New("link: stream is broken, dial again")

// ErrTimeout is returned by a [Timed] Conn when the time that was set has passed.
var ErrTimeout = errors.New("link: the time is over")

// Conn carries whole APDUs between one client SAP and one server SAP.
//
// A Conn does not match answers to requests: after a Receive that was given up, the late answer is what the next
// Receive returns. The invoke-id and the counters of the APDUs tell.
type Conn interface {
	// Send sends one APDU. It does not keep apdu.
	Send(ctx context.Context, apdu []byte) error
	// Receive returns the next APDU. The bytes are valid until the next Receive.
	Receive(ctx context.Context) ([]byte, error)
	// Close ends the connection and releases what it holds. A second Close does nothing.
	Close() error
}

// Timed is implemented by a [Conn] that keeps the time itself, which costs less than a context with a deadline for
// every APDU.
type Timed interface {
	Conn
	// Within bounds all the Sends and Receives from now on, together, to d: then they return an error that matches
	// ErrTimeout, with the same effect as a context that has ended. 0 takes the bound away. It reports false, and
	// sets none, when what lies below cannot bound a call. It must not be called while a Send or Receive is under
	// way.
	Within(d time.Duration) bool
}

// Request is one APDU that reached a server, with the addresses that came with it.
type Request struct {
	// Client is the SAP of the sender, as the sender wrote it.
	Client dlms.SAP
	// Server is the SAP addressed: a logical device, or dlms.SAPAllStations for a broadcast.
	Server dlms.SAP
	// APDU is valid until HandleAPDU returns.
	APDU []byte
	// Remote is the address of the sender where the medium has one, else nil. It serves logs and rate limits.
	Remote net.Addr
}

// Handler serves the APDUs of a link.
//
// Within one connection calls come one after the other, in the order of arrival; different connections call at the
// same time.
type Handler interface {
	// HandleAPDU returns the APDU to answer with, or nil for no answer. The link has finished with the returned
	// bytes before it calls again for the same connection. An answer to a broadcast is dropped by the link.
	HandleAPDU(ctx context.Context, r Request) (reply []byte)
}

// HandlerFunc is a function that serves as a [Handler].
type HandlerFunc func(ctx context.Context, r Request) []byte

// HandleAPDU calls f.
func (f HandlerFunc) HandleAPDU(ctx context.Context, r Request) []byte { return f(ctx, r) }

// Disconnecter is implemented by a [Handler] that wants to know when the link of a client ended: DISC, a new SNRM,
// silence for too long on HDLC, the end of the connection on TCP.
//
// This is an event of the link and of nothing above it. Anybody on the wire can cause it in anybody's name, so it
// may drop what has not been authenticated yet (an association between AARQ and the end of HLS), and must not
// disturb an open ciphered association.
type Disconnecter interface {
	// Disconnected is called in turn with HandleAPDU of the same connection.
	Disconnected(client dlms.SAP)
}

// Disconnected tells h, if it wants to know, that the link of client ended.
func Disconnected(h Handler, client dlms.SAP) {
	if d, ok := h.(Disconnecter); ok {
		d.Disconnected(client)
	}
}
