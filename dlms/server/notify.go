package server

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// Errors of notifications.
var (
	// ErrNoClient: the model has no such client on this link.
	ErrNoClient = errors.New("notification: no such client on this link")
	// ErrNoAssociation: the client takes notifications in an open association only.
	ErrNoAssociation = errors.New("notification: no open association")
	// ErrNotNegotiated: the client did not agree to this service.
	ErrNotNegotiated = errors.New("notification: service not agreed on")
	// ErrTooLong: the notification is longer than the client takes.
	ErrTooLong = errors.New("notification: too long for the client")
)

// EventNotification returns the APDU that tells a client of an event (GB 9.3.11), protected for it; the caller has the
// link. With an open association of the client it goes under the dedicated key, or the global one where there is none,
// and the service must have been agreed on. Without an association it is general-glo-ciphering under the global key,
// for a client whose Traffic is DedicatedOrGlobal and whose Conformance has the service. It is always authenticated
// and encrypted, but for a client without ciphering. It must not be called from a method of the device or an object.
func (s *Server) EventNotification(linkName string, client dlms.SAP, n apdu.EventNotification) ([]byte, error) {
	plain, err := n.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return s.notify(linkName, client, apdu.ConformanceEventNotification, plain)
}

// DataNotification returns the APDU that pushes data to a client (GB 9.3.10), as EventNotification does. Under a
// dedicated key it is general-ded-ciphering: the service has no ciphered form of its own.
func (s *Server) DataNotification(linkName string, client dlms.SAP, n apdu.DataNotification) ([]byte, error) {
	plain, err := n.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return s.notify(linkName, client, apdu.ConformanceDataNotification, plain)
}

func (s *Server) notify(linkName string, client dlms.SAP, service apdu.Conformance, plain []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeReplaced()
	c := &call{server: s, index: s.kind.model.endpoint(linkName, client)}
	if c.index < 0 {
		return nil, fmt.Errorf("%w: %s on %q", ErrNoClient, client, linkName)
	}
	c.env.Now = s.kind.options.Now()
	c.attach()
	a := c.slot.assoc
	switch {
	case c.client.Broadcast:
		return nil, fmt.Errorf("%w: nothing is sealed under a broadcast key", ErrForm)
	case a != nil && a.open:
		return c.notifyWithin(a, service, plain)
	case !c.client.ciphered() || c.client.Traffic == DedicatedRequired || c.client.PerPeer:
		return nil, ErrNoAssociation
	case !c.client.Conformance.Has(service):
		return nil, ErrNotNegotiated
	}
	lt, err := c.longTerm(c.client.Setup, dlms.SystemTitle{}, nil)
	if err != nil {
		return nil, err
	}
	return c.seal(nil, form{general: true, control: security.AuthenticatedEncrypted}, global(lt), plain)
}

// notifyWithin protects a notification in an open association.
func (c *call) notifyWithin(a *association, service apdu.Conformance, plain []byte) ([]byte, error) {
	if !a.conformance.Has(service) {
		return nil, ErrNotNegotiated
	}
	if !a.ciphered() {
		return fitting(plain, len(plain), a.maxSend)
	}
	f := form{dedicated: a.session != nil, control: security.AuthenticatedEncrypted}
	_, own := apdu.CipheredTag(apdu.Tag(plain[0]), f.dedicated)
	f.general = !own
	if _, err := fitting(nil, len(plain)+f.overhead(), a.maxSend); err != nil {
		return nil, err
	}
	if !f.dedicated && c.client.Traffic == DedicatedRequired {
		return nil, ErrForm
	}
	k, err := c.keys(f.dedicated)
	if err != nil {
		return nil, err
	}
	return c.seal(nil, f, k, plain)
}

func fitting(b []byte, n, limit int) ([]byte, error) {
	if n > limit {
		return nil, fmt.Errorf("%w: want at most %d bytes, got %d", ErrTooLong, limit, n)
	}
	return b, nil
}
