package relay

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// Vault gives handles on keys, never keys.
type Vault interface {
	OpenFor(ctx context.Context, by audit.Actor, own dlms.SystemTitle, purpose string, keys []role.KeyRef) ([]vault.Opened, error)
	Finish(ctx context.Context, by audit.Actor, outcomes []vault.Outcome) error
	Active(ctx context.Context, keys []vault.Target) ([]vault.KeyInfo, error)
}

// Place is where a meter is and what it is.
type Place struct {
	Concentrator dlms.SystemTitle
	// EndToEnd: the meter has an association for the IS itself (profile hardened).
	EndToEnd bool
	// Foreign: the meter is of a maker whose meters may lock out who tries too often.
	Foreign bool
}

// Tries bounds how often associations are tried that do not open. What was tried outlives the process.
type Tries interface {
	// Begin notes that one is about to be tried; ErrTries if too many were within the hour.
	Begin(ctx context.Context, meter dlms.SystemTitle) error
	// Opened says that one was opened: those before count no more.
	Opened(ctx context.Context, meter dlms.SystemTitle) error
}

// ErrTries is returned for a meter that may lock out who tries too often, and was tried as often as it may be for now.
var ErrTries = errors.New("relay: tried as often within the hour as a meter of this maker may be; it is tried again later")

// Config says what a Hand works with; all but Log, WrapAEAD and Timeout are required.
type Config struct {
	Bus   Bus
	Vault Vault
	// Locate finds meters: a place or an error for each.
	Locate func(ctx context.Context, meters []dlms.SystemTitle) ([]Place, []error)
	// Own is this IS node's system title, Actor its name in the audit log.
	Own   dlms.SystemTitle
	Actor audit.Actor
	Rand  io.Reader
	Now   func() time.Time
	Log   *slog.Logger
	// WrapAEAD lets a nonce oracle watch the session keys.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	// Timeout bounds one exchange with a meter, default 10 s.
	Timeout time.Duration
	// Width is how many meters of one call are talked to at once, default 50.
	Width int
	// NoKey, if set, is told of a concentrator that could not open its own association with a meter: it may lack the
	// version in force.
	NoKey func(concentrator dlms.SystemTitle)
	// Burnt, if set, is told of a key under which the meter wants a counter that ours may not be raised to.
	Burnt func(ctx context.Context, k role.KeyRef)
	// Tries, if set, bounds what is tried on foreign meters.
	Tries Tries
}

// Hand opens associations of the IS's own. It is safe for concurrent use; the associations of one meter must not
// overlap, which its callers hold by a lock per meter.
type Hand struct {
	cfg   Config
	locks locks
}

// NewHand returns a Hand.
func NewHand(cfg Config) *Hand {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Width == 0 {
		cfg.Width = 50
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Hand{cfg: cfg}
}

// With runs f in an association that may do what the IS may do with this meter: under CC_IS where the meter has it,
// else under CC_LAN on the claimed read/write SAP. Everything f does is authenticated by the meter itself.
func (h *Hand) With(ctx context.Context, meter dlms.SystemTitle, purpose string, f func(context.Context, *client.Association) error) error {
	place, err := h.locate(ctx, meter)
	if err != nil {
		return err
	}
	r := place.entry()
	unlock, err := h.locks.hold(ctx, meter)
	if err != nil {
		return err
	}
	defer unlock()
	// Under the lock: a key change that was waited for may have brought a new version.
	active, err := h.cfg.Vault.Active(ctx, []vault.Target{{Meter: meter, Role: r}})
	if err != nil {
		return err
	}
	err = h.underLocked(ctx, place, active[0].Ref, purpose, f)
	if refusedByMeter(err) {
		return fmt.Errorf("%w: %w", rotation.ErrEntry, err)
	}
	return err
}

// entry is the role of the key that the IS enters with.
func (p Place) entry() role.Role {
	if p.EndToEnd {
		return role.CCIS
	}
	return role.CCLAN
}

// Entry implements rotation.Hand.
func (h *Hand) Entry(ctx context.Context, meter dlms.SystemTitle) (role.Role, error) {
	place, err := h.locate(ctx, meter)
	return place.entry(), err
}

func (h *Hand) locate(ctx context.Context, meter dlms.SystemTitle) (Place, error) {
	places, errs := h.cfg.Locate(ctx, []dlms.SystemTitle{meter})
	return places[0], errs[0]
}

// underLocked runs f in an association under one key version. The caller holds the meter's lock.
func (h *Hand) underLocked(ctx context.Context, place Place, k role.KeyRef, purpose string, f func(context.Context, *client.Association) error) error {
	opened, err := h.cfg.Vault.OpenFor(ctx, h.cfg.Actor, h.cfg.Own, purpose, []role.KeyRef{k})
	if err != nil {
		return err
	}
	if opened[0].Err != nil {
		return opened[0].Err
	}
	use := opened[0].Use
	err = h.associate(ctx, place, use, f)
	h.finish(ctx, []vault.Outcome{{Use: use, Result: result(err)}})
	return err
}

// raised reports whether the association failed for nothing but our counter, and the counter was raised to what the meter
// says that it expects. Anybody can say that in its place, so it is raised within bounds and never lowered; where it is
// out of reach the key is to be changed.
func (h *Hand) raised(ctx context.Context, use *vault.Use, err error) bool {
	var open *openError
	var exception *client.ExceptionError
	if !errors.As(err, &open) || !errors.As(err, &exception) {
		return false
	}
	expected, ok := exception.Expected()
	counter, can := use.LongTerm().Send.(interface {
		RaiseTo(ic dlms.InvocationCounter) error
	})
	if !ok || !can {
		return false
	}
	if err = counter.RaiseTo(expected); err == nil {
		return true
	}
	h.cfg.Log.Warn("a meter wants a counter out of reach", "key_ref", use.Ref.String(), "expected", uint32(expected), "error", err)
	if errors.Is(err, security.ErrRaise) && h.cfg.Burnt != nil {
		h.cfg.Burnt(context.WithoutCancel(ctx), use.Ref)
	}
	return false
}

// associate opens an association and runs f in it; once more where nothing but our counter was behind.
func (h *Hand) associate(ctx context.Context, place Place, use *vault.Use, f func(context.Context, *client.Association) error) error {
	err := h.once(ctx, place, use, f)
	if h.raised(ctx, use, err) {
		err = h.once(ctx, place, use, f)
	}
	return err
}

// once opens an association and runs f in it. The concentrator lends its SAP for one under CC_LAN.
func (h *Hand) once(ctx context.Context, place Place, use *vault.Use, f func(context.Context, *client.Association) error) error {
	if ctx.Err() != nil { // told to stop, or another process works there by now
		return context.Cause(ctx)
	}
	if use.Ref.Role == role.CCLAN {
		if err := h.claim(ctx, place.Concentrator, use.Ref.Meter); err != nil {
			return err
		}
		defer h.release(ctx, place.Concentrator, use.Ref.Meter)
	}
	if !place.Foreign || h.cfg.Tries == nil {
		return h.run(ctx, place, use, f)
	}
	if err := h.cfg.Tries.Begin(ctx, use.Ref.Meter); err != nil {
		return err
	}
	return h.run(ctx, place, use, func(ctx context.Context, a *client.Association) error {
		if err := h.cfg.Tries.Opened(ctx, use.Ref.Meter); err != nil {
			return err
		}
		return f(ctx, a)
	})
}

func (h *Hand) run(ctx context.Context, place Place, use *vault.Use, f func(context.Context, *client.Association) error) error {
	cfg := client.Linky(h.cfg.Own, use.Ref.Meter, *use.LongTerm(), h.cfg.Rand)
	cfg.WrapAEAD, cfg.Timeout = h.cfg.WrapAEAD, h.cfg.Timeout
	c := &conn{bus: h.cfg.Bus, concentrator: place.Concentrator, meter: use.Ref.Meter, client: sapOf(use.Ref.Role)}
	a, err := client.Open(ctx, c, cfg)
	if err != nil {
		return &openError{err}
	}
	err = f(ctx, a)
	// A release that fails leaves a session that dies by its age or with the next AARQ: not the caller's matter.
	if err := a.Release(ctx); err != nil {
		h.cfg.Log.Debug("release not answered", "meter", use.Ref.Meter.String(), "error", err)
	}
	return err
}

func sapOf(r role.Role) dlms.SAP {
	if r == role.CCIS {
		return role.SAPIS
	}
	return role.SAPReadWrite
}

// openError is a failure to open an association, as against one within it.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

// refusedByMeter reports whether the association was refused: by the meter, or by whoever sits on the line in its
// place. An answer that does not verify proves nothing and is not counted.
func refusedByMeter(err error) bool {
	var open *openError
	if !errors.As(err, &open) {
		return false
	}
	var reject *client.RejectError
	var exception *client.ExceptionError
	if errors.As(err, &exception) {
		_, counter := exception.Expected() // the key verified; only our counter is behind
		return !counter
	}
	return errors.As(err, &reject)
}

// result is an outcome in the words of the audit log.
func result(err error) string {
	switch {
	case refusedByMeter(err):
		return "refused"
	case err != nil:
		return "no answer"
	}
	return "opened"
}

func (h *Hand) finish(ctx context.Context, outcomes []vault.Outcome) {
	if len(outcomes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := h.cfg.Vault.Finish(ctx, h.cfg.Actor, outcomes); err != nil {
		h.cfg.Log.Error("the audit log did not take an outcome", "key_ref", outcomes[0].Use.Ref.String(), "outcomes", len(outcomes), "error", err)
	}
}

func (h *Hand) claim(ctx context.Context, d, meter dlms.SystemTitle) error {
	c := &bus.Claim{Meters: []dlms.SystemTitle{meter}, Until: h.cfg.Now().Add(claimFor)}
	_, err := order(ctx, h.cfg.Bus, d, bus.Order{Claim: c})
	return err
}

// release gives the read/write SAP back; if that is lost the claim ends by itself.
func (h *Hand) release(ctx context.Context, d, meter dlms.SystemTitle) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := order(ctx, h.cfg.Bus, d, bus.Order{Release: &bus.Release{Meters: []dlms.SystemTitle{meter}}}); err != nil {
		h.cfg.Log.Debug("claim not released, it will expire", "meter", meter.String(), "error", err)
	}
}
