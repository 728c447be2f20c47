package server

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// EventKind is what happened to an association.
type EventKind uint8

// Kinds of events.
const (
	// EventOpened: the client has proved who it is and is served.
	EventOpened EventKind = 1 + iota
	// EventClosed: an open association ended; Err says why, nil after a release.
	EventClosed
	// EventFailed: an association that an authentic AARQ began did not come to be.
	EventFailed
	// EventRefused: something did not verify: a tag, a counter. Within the rate of the package comment.
	EventRefused
)

// String returns the kind's name.
func (k EventKind) String() string {
	switch k {
	case EventOpened:
		return "opened"
	case EventClosed:
		return "closed"
	case EventFailed:
		return "failed"
	case EventRefused:
		return "refused"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event tells the device what happened to an association of its own.
type Event struct {
	// Kind says what has happened.
	Kind EventKind
	// Link is the name of the link, and Client the SAP on it.
	Link   string
	Client dlms.SAP
	// Name is the name of the client in the model.
	Name string
	// Peer is the system title that the client proved; with EventRefused it is that of the association which the
	// refused APDU did not disturb. Zero where there is none.
	Peer dlms.SystemTitle
	// Setup and Generation name the key under which the association was opened, zero without security.
	Setup      dlms.OBIS
	Generation uint32
	// ImplementationInfo came with the AARQ, in clear and not authenticated, at most 128 bytes.
	ImplementationInfo []byte
	// Err says why.
	Err error
}

// Reasons in [Event].Err, besides those of package security.
var (
	// ErrKeyReplaced: the key under which the association was opened is no longer in force.
	ErrKeyReplaced = errors.New("association: its key was replaced")
	// ErrAge: the association is older than it may be.
	ErrAge = errors.New("association: too old")
	// ErrAPDUs: the association has carried as many APDUs as it may.
	ErrAPDUs = errors.New("association: too many apdus")
	// ErrHalfOpen: pass 3 of HLS did not come in time.
	ErrHalfOpen = errors.New("association: authentication not finished in time")
	// ErrSuperseded: the same client opened another association.
	ErrSuperseded = errors.New("association: opened again by its client")
	// ErrLinkEnded: the line ended under an association in clear, which nothing else ties to its client.
	ErrLinkEnded = errors.New("association: its line ended")
	// ErrForm: an APDU in a form or under a key that this client may not use for it.
	ErrForm = errors.New("apdu: form or key not allowed here")
	// ErrNonceShared: one counter inside f(challenge) and around it.
	ErrNonceShared = errors.New("hls: the peer used one counter twice")
	// ErrNoKey: the device has no key for the security setup.
	ErrNoKey = errors.New("security setup: no key in force")
	// ErrPassword: the password of LLS is wrong.
	ErrPassword = errors.New("lls: password refused")
	// ErrNoSecret: the device has no password or secret for the client.
	ErrNoSecret = errors.New("secret: none for this client")
	// ErrInitiate: the client proposed what cannot be served.
	ErrInitiate = errors.New("initiate: proposal refused")
)
