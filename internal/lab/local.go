package lab

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/drill"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/terminal"
)

// local shows the terminals on the meters' local ports.
func (w *world) local(ctx context.Context) (string, error) {
	if err := w.tapLocal(); err != nil {
		return "", err
	}
	t, err := w.terminal(ctx)
	if err != nil {
		return "", err
	}
	defer t.Close()
	granted, other := w.rows[meterGranted].Title, w.rows[meterOther].Title
	g, err := w.grant(ctx, t, 24*time.Hour)
	if err != nil {
		return "", err
	}
	reading, err := t.Read(ctx, g, granted, w.localPort(meterGranted))
	if err != nil {
		return "", err
	}
	w.report.TerminalReads++
	if err := w.withoutGrant(ctx, t, g, other); err != nil {
		return "", err
	}
	if err := w.expired(ctx, t, granted); err != nil {
		return "", err
	}
	if err := w.lost(ctx, t, granted); err != nil {
		return "", err
	}
	return fmt.Sprintf("granted terminal read %d Wh over HDLC; without a grant: refused %d times; with an expired one: refused %d times",
		reading.IndexWh, w.report.Refused.TerminalWithoutGrant, w.report.Refused.TerminalExpired), nil
}

// tapLocal counts what goes over the local ports that are used.
func (w *world) tapLocal() error {
	for _, i := range []int{meterGranted, meterOther} {
		t, err := drill.NewTap(w.ctx, w.fleet.Addresses()[i].Local.String(), nil)
		if err != nil {
			return err
		}
		w.localTaps[i] = t
	}
	return nil
}

func (w *world) localPort(i int) string { return w.localTaps[i].Addr() }

func (w *world) terminal(ctx context.Context) (*terminal.Terminal, error) {
	status, err := w.api.Status(ctx)
	if err != nil {
		return nil, err
	}
	own := title(serialTerminal, 1)
	f, err := terminal.Init(w.path("terminal-1"), own, status.VaultRecipient, w.cfg.Rand)
	if err != nil {
		return nil, err
	}
	known, err := w.enrolled(ctx, own)
	if err != nil {
		return nil, err
	}
	if !known {
		if err := w.field.Enrol(ctx, api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
			return nil, err
		}
	}
	return terminal.Open(terminal.Config{Data: w.path("terminal-1")}, terminal.Deps{
		Now: w.now, Rand: w.cfg.Rand, WrapAEAD: w.oracle.Wrap,
	})
}

func (w *world) grant(ctx context.Context, t *terminal.Terminal, life time.Duration) (enrol.Grant, error) {
	now := w.now()
	g, err := w.field.Grant(ctx, api.GrantRequest{
		Terminal: t.Title(), Meters: []dlms.SystemTitle{w.rows[meterGranted].Title},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life),
	})
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	// Over a file, as a terminal gets it.
	path := w.path("terminal-1", "grant-"+g.ID+".json")
	if err := terminal.WriteGrant(path, g); err != nil {
		return g, err
	}
	return terminal.ReadGrant(path)
}

// withoutGrant: the honest terminal refuses by itself; one changed to try all the same is refused by the meter, with a
// key of its own making and with the granted key of another meter.
func (w *world) withoutGrant(ctx context.Context, t *terminal.Terminal, g enrol.Grant, other dlms.SystemTitle) error {
	_, err := t.Read(ctx, g, other, w.localPort(meterOther))
	if !errors.Is(err, enrol.ErrNotGranted) {
		return fmt.Errorf("a meter that is not granted: want the terminal to refuse, got %w", err)
	}
	made, err := key.GenerateUnicast(w.cfg.Rand)
	if err != nil {
		return err
	}
	foreign, err := w.keyOf(g, w.rows[meterGranted].Title)
	if err != nil {
		return err
	}
	for _, k := range []lent{{key: made, info: foreign.info}, foreign} {
		if err := w.force(ctx, t.Title(), k, other, w.localPort(meterOther)); err != nil {
			return fmt.Errorf("without a grant: %w", err)
		}
		w.report.Refused.TerminalWithoutGrant++
	}
	return nil
}

// expired gives a grant of seconds, lets it end, and tries it honestly and dishonestly.
func (w *world) expired(ctx context.Context, t *terminal.Terminal, meter dlms.SystemTitle) error {
	g, err := w.grant(ctx, t, 2*time.Second)
	if err != nil {
		return err
	}
	stolen, err := w.keyOf(g, meter)
	if err != nil {
		return err
	}
	// It works while it lasts: what is refused later is refused for its end.
	if _, err := t.Read(ctx, g, meter, w.localPort(meterGranted)); err != nil {
		return fmt.Errorf("the short grant, while it lasts: %w", err)
	}
	w.report.TerminalReads++
	if len(stolen.info) == 0 { // the IS ends it by itself when its time is over, and changes the key
		if err := w.awaitChanges(ctx, "grant "+g.ID+" ended", 1); err != nil {
			return err
		}
	} else if err := w.until(ctx, g.NotAfter); err != nil {
		return err
	}
	if _, err := t.Read(ctx, g, meter, w.localPort(meterGranted)); !errors.Is(err, enrol.ErrGrantTime) {
		return fmt.Errorf("an expired grant: want the terminal to refuse, got %w", err)
	}
	w.report.Refused.TerminalExpired++
	if len(stolen.info) > 0 {
		// A meter of this profile would take it until the end of its last day; what it refuses from the start is a later one.
		stolen.info = role.LastDayInfo(dlms.DayOf(w.now().AddDate(0, 0, 30)))
	}
	if err := w.force(ctx, t.Title(), stolen, meter, w.localPort(meterGranted)); err != nil {
		return fmt.Errorf("an expired grant: %w", err)
	}
	w.report.Refused.TerminalExpired++
	return nil
}

// lost reports a terminal's grant as lost long before its last day: a thief who takes what it holds is refused, though the
// grant says that it is in force.
func (w *world) lost(ctx context.Context, t *terminal.Terminal, meter dlms.SystemTitle) error {
	g, err := w.grant(ctx, t, 24*time.Hour)
	if err != nil {
		return err
	}
	stolen, err := w.keyOf(g, meter)
	if err != nil {
		return err
	}
	if _, err := w.api.EndGrant(ctx, g.ID); err != nil {
		return err
	}
	if err := w.awaitChanges(ctx, "grant "+g.ID+" ended", 1); err != nil {
		return err
	}
	if err := w.force(ctx, t.Title(), stolen, meter, w.localPort(meterGranted)); err != nil {
		return fmt.Errorf("a lost grant: %w", err)
	}
	w.report.Refused.TerminalExpired++
	return nil
}

// until waits for a moment.
func (w *world) until(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(at.Sub(w.now()) + time.Millisecond):
		return nil
	}
}

// lent is a key that opens an association on the local port, and what is said with it.
type lent struct {
	key interface {
		AEAD() (cipher.AEAD, error)
		Fingerprint() key.Fingerprint
	}
	info []byte
}

// keyOf is what a terminal's own memory gives its thief: the granted key.
func (w *world) keyOf(g enrol.Grant, meter dlms.SystemTitle) (lent, error) {
	id, err := enrol.LoadIdentity(w.path("terminal-1", terminal.IdentityFile))
	if err != nil {
		return lent{}, err
	}
	sealed, err := g.For(meter)
	if err != nil {
		return lent{}, err
	}
	if sealed.LastDay.IsZero() {
		k, err := id.Open(sealed)
		return lent{key: k}, err
	}
	k, err := id.OpenDerived(sealed)
	return lent{key: k, info: role.LastDayInfo(sealed.LastDay)}, err
}

// force tries to associate on a local port with a key, whatever the grant says; the meter must refuse.
func (w *world) force(ctx context.Context, own dlms.SystemTitle, k lent, meter dlms.SystemTitle, address string) error {
	aead, err := k.key.AEAD()
	if err != nil {
		return err
	}
	c, err := security.NewCipher(w.oracle.Wrap(aead, k.key.Fingerprint()), key.Authentication{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := hdlc.Dial(ctx, address, hdlc.Config{Client: role.SAPTSP, Server: role.SAPServer})
	if err != nil {
		return fmt.Errorf("local port: %w", err)
	}
	defer conn.Close()
	cfg := client.Linky(own, meter, security.LongTerm{Cipher: c, Send: w.thief, Floor: security.NewMemoryFloor(meter, 0)}, w.cfg.Rand)
	cfg.Implementation = k.info
	a, err := client.Open(ctx, conn, cfg)
	if err == nil {
		return errors.Join(fmt.Errorf("meter %s let the terminal in", meter), a.Release(ctx))
	}
	if errors.As(err, new(*client.RejectError)) || errors.As(err, new(*client.ExceptionError)) {
		return nil
	}
	return fmt.Errorf("want the meter's own refusal: %w", err) // a dead line refuses nothing
}
