package concentrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/concentrator/keyring"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

// Limits of sessions. Meters end an association after 24 h; ours are renewed before.
const (
	maxSession   = 23 * time.Hour
	maxBroadcast = 23 * time.Hour
	// triedVersions is how many versions of a key are tried for one association.
	triedVersions = 3
)

// clockRef is the clock's time (class 8, attribute 2).
func clockRef() dlms.AttributeRef {
	return dlms.AttributeRef{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
}

// associate opens an association with a meter, on the lines where it may be, under the versions of its key that may be
// in force, the newest first: a version that is refused is no proof of anything, the next one is tried. b is the
// broadcast key to deliver, nil for read/write.
func (c *Concentrator) associate(ctx context.Context, t dlms.SystemTitle, b *client.Broadcast) (*session, error) {
	if err := c.awaitGreeting(ctx); err != nil {
		return nil, err
	}
	versions := c.ring.Usable(t)
	if len(versions) == 0 {
		return nil, &bus.Fault{Code: bus.FaultNoKey, Text: fmt.Sprintf("no CC_LAN of meter %s that may be used", t)}
	}
	lines := c.lan.find(ctx, t)
	if len(lines) == 0 {
		return nil, &bus.Fault{Code: bus.FaultNoMeter, Text: fmt.Sprintf("meter %s was not found on the local network", t)}
	}
	var errs []error
	for _, l := range lines {
		for _, v := range c.tries.order(t, candidates(versions)) {
			s, err := c.try(ctx, l, t, v.Number, b)
			if err == nil {
				c.lan.proven(l, t)
				return s, nil
			}
			errs = append(errs, fmt.Errorf("%s, version %d: %w", l.Address(), v.Number, err))
			if ctx.Err() != nil || errors.Is(err, ErrNotSent) {
				break
			}
		}
		c.doubt(l, errs[len(errs)-1])
	}
	return nil, associateFault(t, errs)
}

// candidates are the versions to try: the newest ones, and the one that was proven last, however many came after it and
// were not taken.
func candidates(versions []keyring.Version) []keyring.Version {
	out := slices.Clone(versions[:min(len(versions), triedVersions)])
	for _, v := range versions[len(out):] {
		if v.Phase == bus.PhaseActive {
			out = append(out, v)
		}
	}
	return out
}

// doubt forgets who is on a line where an association failed for another reason than the key: somebody else may have
// moved in, or the meter away.
func (c *Concentrator) doubt(l Line, err error) {
	if errors.Is(err, ErrNotSent) || errors.Is(err, security.ErrTitle) {
		c.lan.forget(l)
	}
}

// associateFault says what became of all tries. Nothing took effect, so nothing is unknown.
func associateFault(t dlms.SystemTitle, errs []error) error {
	code := bus.FaultUnreachable
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
		if answered(err) {
			code = bus.FaultKeyRefused
		}
	}
	return &bus.Fault{Code: code, Text: fmt.Sprintf("no association with meter %s: %s", t, strings.Join(texts, "; "))}
}

// answered reports whether whoever is on the line refused, as against silence.
func answered(err error) bool {
	var reject *client.RejectError
	var exception *client.ExceptionError
	return errors.As(err, &reject) || errors.As(err, &exception) || errors.Is(err, client.ErrAuthentication) ||
		errors.Is(err, security.ErrTag) || errors.Is(err, security.ErrTitle)
}

// try opens one association under one version. Its entry in the log is durable before the key is used (law 8).
func (c *Concentrator) try(ctx context.Context, l Line, t dlms.SystemTitle, version uint32, b *client.Broadcast) (*session, error) {
	global, err := c.ring.LongTerm(t, version)
	if err != nil {
		return nil, err
	}
	ref := role.KeyRef{Meter: t, Role: role.CCLAN, Version: version}
	cfg := client.Linky(c.id.Title(), t, global, c.deps.Rand)
	cfg.WrapAEAD, cfg.Timeout = c.deps.WrapAEAD, c.cfg.Timeout
	sap, name := role.SAPReadWrite, "read/write"
	if b != nil {
		cfg.Dedicated, cfg.Broadcast = false, b
		sap, name = role.SAPBroadcast, "broadcast"
	}
	if err := c.tries.begin(t, version); err != nil {
		return nil, err
	}
	if err := c.log.Append(keylog.Use{As: name, Ref: ref}.String()); err != nil {
		return nil, err
	}
	c.wakeSoon()
	a, err := client.Open(ctx, &pipe{line: l, client: sap, server: role.SAPServer}, cfg)
	if noted := c.tries.ended(t, err); noted != nil { // then it counts as one that did not open
		c.deps.Log.Warn("tries.not-noted", "meter", t.String(), "error", noted)
	}
	if err != nil {
		return nil, err
	}
	c.deps.Log.Debug("session.opened", "key_ref", ref.String(), "sap", name, "address", l.Address())
	return &session{line: l, assoc: a, version: version, since: c.deps.Now(), broadcast: b}, nil
}

// ready returns the read/write session with a meter that has just answered under it, and what its clock says. The
// caller has the meter's turn. An old session is tried first: the meter may have closed it.
func (c *Concentrator) ready(ctx context.Context, m *meter) (*session, dlms.DateTime, error) {
	if s, _ := m.sessions(); s != nil {
		if c.deps.Now().Sub(s.since) < maxSession {
			if dt, err := readClock(ctx, s); err == nil {
				return s, dt, nil
			}
		}
		m.setReadWrite(nil)
	}
	s, err := c.associate(ctx, m.title, nil)
	if err != nil {
		return nil, dlms.DateTime{}, err
	}
	m.setReadWrite(s)
	dt, err := readClock(ctx, s)
	if err != nil {
		m.setReadWrite(nil)
		return nil, dt, err
	}
	return s, dt, nil
}

func readClock(ctx context.Context, s *session) (dlms.DateTime, error) {
	v, err := s.assoc.Get(ctx, clockRef())
	if err != nil {
		return dlms.DateTime{}, err
	}
	return dlms.DateTimeFromBytes(v.Bytes())
}
