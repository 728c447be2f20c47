package client

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Notification is what a meter tells unasked: an event notification or a data notification (GB 9.3.10, 9.3.11). One
// of Event and Data is set. It owns its memory.
type Notification struct {
	// Title is the meter's system title, zero when nobody said.
	Title dlms.SystemTitle
	// Authenticated says that an authentication tag under the meter's key has verified and that the counter is fresh.
	// Without it, all of this may be anybody's.
	Authenticated bool
	// Counter is the invocation counter, 0 for what came in clear.
	Counter dlms.InvocationCounter

	// Event is set for an event notification, Data for a data notification.
	Event *apdu.EventNotification
	Data  *apdu.DataNotification
}

// parseNotification parses a notification in clear, which its values alias.
func parseNotification(plain []byte, n Notification) (Notification, error) {
	tag, err := apdu.TagOf(plain)
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	switch tag {
	case apdu.TagEventNotification:
		var e apdu.EventNotification
		e, err = apdu.ParseEventNotification(plain)
		n.Event = &e
	case apdu.TagDataNotification:
		var d apdu.DataNotification
		d, err = apdu.ParseDataNotification(plain)
		n.Data = &d
	default:
		err = fmt.Errorf("%s is no notification", tag)
	}
	if err != nil {
		return Notification{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return n, nil
}

// isNotification reports whether an APDU comes unasked, by its tag.
func isNotification(tag apdu.Tag) bool {
	switch tag {
	case apdu.TagDataNotification, apdu.TagEventNotification, apdu.TagGloEventNotification, apdu.TagDedEventNotification:
		return true
	}
	return false
}

// unasked reports whether an APDU is a notification, or can only be one: in a general form that the services of this
// association do not have.
func (m *Machine) unasked(tag apdu.Tag) bool {
	if isNotification(tag) {
		return true
	}
	if m.cfg.Notify == nil || m.state != stateOpen || !tag.IsGeneral() {
		return false
	}
	return !m.services.general || m.services.dedicated != (tag == apdu.TagGeneralDed)
}

// notify hands out a notification that verifies. One that does not is dropped: it may be a stranger's, and must not
// disturb the exchange that goes on.
func (m *Machine) notify(tag apdu.Tag, b []byte) {
	if m.cfg.Notify == nil || m.state != stateOpen {
		return
	}
	f := form{ciphered: m.cfg.ciphered()}
	if f.ciphered {
		_, f.dedicated, _ = apdu.PlainTag(tag)
		f.general = tag.IsGeneral()
		f.dedicated = f.dedicated || tag == apdu.TagGeneralDed
	}
	// A strict association has no traffic under the long-term key, and none at all without a session.
	if m.cfg.Strict && !f.dedicated || f.dedicated && !m.hasSession() {
		return
	}
	before := m.forgeable
	m.forgeable = false
	plain, err := m.open(b, f, m.cfg.acceptance(), apdu.TagEventNotification, apdu.TagDataNotification)
	if err == nil {
		m.tell(plain, f.ciphered && !m.forgeable)
	}
	m.forgeable = before
}

// tell hands out a notification in clear, in the machine's buffer.
func (m *Machine) tell(plain []byte, authenticated bool) {
	if m.cfg.Notify == nil {
		return
	}
	n := Notification{Title: m.peer, Authenticated: authenticated}
	if m.cfg.ciphered() {
		n.Counter = m.received
	}
	if n, err := parseNotification(plain, n); err == nil {
		m.keep()
		m.cfg.Notify(n)
	}
}

// Listen hands what the meter tells unasked to Config.Notify, until ctx ends or the link does, and returns why. Other
// calls wait for it.
func (a *Association) Listen(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.errLocked(); err != nil {
		return err
	}
	if a.cfg.Notify == nil {
		return fmt.Errorf("%w: listen: no notify function", ErrConfig)
	}
	for {
		b, err := a.conn.Receive(ctx)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		_, _, _ = a.machine.Receive(b) // what is no notification was not asked for
	}
}
