package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/drill"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

func (w *world) steps() []step {
	return []step{
		{"Enrol", w.enrol},
		{"Provision", w.provision},
		{"Associate", w.associate},
		{"Read", w.read},
		{"Re-key", w.rekey},
		{"Refuse", w.refuse},
		{"Command", w.command},
		{"Local", w.local},
		{"Roll call", w.rollCall},
	}
}

func (w *world) provision(ctx context.Context) (string, error) {
	status, err := w.api.Status(ctx)
	if err != nil {
		return "", err
	}
	held := 0
	for i := range w.cfg.Concentrators {
		n, err := w.join(ctx, i, status.VaultRecipient)
		if err != nil {
			return "", fmt.Errorf("concentrator %d: %w", i+1, err)
		}
		held += n
	}
	if held != w.cfg.Meters {
		return "", fmt.Errorf("concentrators hold %d keys, want %d", held, w.cfg.Meters)
	}
	clash, err := shipment.Generate(w.cfg.Rand, maker, 1, w.cfg.Profile, serialConcentrator+1)
	if err != nil {
		return "", err
	}
	if err := w.refusedRows(ctx, clash); err != nil {
		return "", fmt.Errorf("a meter with a concentrator's title: %w", err)
	}
	return fmt.Sprintf("%d concentrators enrolled, each holds CC_LAN of its own meters only; a meter with a concentrator's title: refused",
		w.cfg.Concentrators), nil
}

func (w *world) join(ctx context.Context, i int, recipient transport.Public) (int, error) {
	t := title(serialConcentrator, i+1)
	dir := w.path(fmt.Sprintf("concentrator-%d", i+1))
	f, err := concentrator.Init(dir, t, w.cfg.Rand, recipient)
	if err != nil {
		return 0, err
	}
	known, err := w.enrolled(ctx, t)
	if err != nil {
		return 0, err
	}
	if !known {
		if err := w.api.Enrol(ctx, api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
			return 0, err
		}
	}
	from, to := w.metersOf(i)
	var mine []dlms.SystemTitle
	for _, r := range w.rows[from:to] {
		mine = append(mine, r.Title)
	}
	if err := w.api.Assign(ctx, api.Assignment{Concentrator: t, Meters: mine}); err != nil {
		return 0, err
	}
	if err := w.startConcentrator(i); err != nil {
		return 0, err
	}
	w.concentrators = append(w.concentrators, t)
	var p api.Provisioned
	err = w.await("concentrator "+t.String(), func() (err error) {
		p, err = w.api.Provision(ctx, t)
		return err
	})
	return p.Held, err
}

func (w *world) enrolled(ctx context.Context, t dlms.SystemTitle) (bool, error) {
	s, err := w.api.Status(ctx)
	if err != nil {
		return false, err
	}
	for _, d := range append(s.Concentrators, s.Terminals...) {
		if d == t {
			return true, nil
		}
	}
	return false, nil
}

// settled waits for the key changes of a lab that was stopped in the middle of them: they go on by themselves, and each
// takes associations away for a moment.
func (w *world) settled(ctx context.Context) error {
	return w.awaitFor(3*time.Minute, "the end of the key changes that were under way", func() error {
		s, err := w.api.Status(ctx)
		if err == nil && s.OpenChanges > 0 {
			err = fmt.Errorf("%d are open", s.OpenChanges)
		}
		return err
	})
}

func (w *world) associate(ctx context.Context) (string, error) {
	if err := w.settled(ctx); err != nil {
		return "", err
	}
	for _, d := range w.concentrators {
		s, err := w.api.Associate(ctx, d)
		if err != nil {
			return "", err
		}
		if len(s.Failed) > 0 {
			return "", fmt.Errorf("%d meters, the first %s: %s", len(s.Failed), s.Failed[0].Meter, s.Failed[0].Text)
		}
		w.report.Associated += len(s.Associations)
	}
	if w.report.Associated != 2*w.cfg.Meters {
		return "", fmt.Errorf("%d associations, want two a meter", w.report.Associated)
	}
	return fmt.Sprintf("%d associations: read/write and broadcast on each meter, each with its own session key", w.report.Associated), nil
}

func (w *world) read(ctx context.Context) (string, error) {
	c, err := w.api.Collect(ctx, w.memo.Day)
	if err != nil {
		return "", err
	}
	if missing := w.cfg.Meters - c.Stored; missing > 1 {
		return "", fmt.Errorf("%d day blocks of %d: %v", c.Stored, w.cfg.Meters, c.Failed)
	}
	w.report.LoadCurveValues = c.Values
	return fmt.Sprintf("%s: %d day blocks with %d half hours at the IS", c.Day, c.Stored, c.Values), nil
}

func (w *world) reason() string { return fmt.Sprintf("lab round %d", w.memo.Round) }

func (w *world) rekey(ctx context.Context) (string, error) {
	asked, err := w.api.Rotate(ctx, api.Rotation{Reason: w.reason(), Once: true})
	if err != nil {
		return "", err
	}
	if err := w.awaitChanges(ctx, w.reason(), asked.Selected); err != nil {
		return "", err
	}
	changes, err := w.api.Changes(ctx, w.reason())
	if err != nil {
		return "", err
	}
	for _, c := range changes {
		switch c.Role {
		case role.CCLAN:
			w.report.Rotated.CCLAN++
		case role.CCLOCALE:
			w.report.Rotated.CCLOCALE++
		case role.CCIS:
			w.report.Rotated.CCIS++
		}
	}
	return fmt.Sprintf("%d keys changed under CCC, each proven by its meter", len(changes)), nil
}

// awaitChanges waits until n changes with a reason are done, with a bar on a terminal.
func (w *world) awaitChanges(ctx context.Context, reason string, n int) error {
	var bar *mpb.Bar
	if w.cfg.Terminal {
		p := mpb.NewWithContext(ctx, mpb.WithOutput(w.cfg.Out), mpb.WithWidth(40))
		bar = p.AddBar(int64(n), mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.CountersNoUnit("%d/%d keys ")),
			mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
		defer p.Wait()
		defer bar.Abort(true)
	}
	for deadline := time.Now().Add(3 * time.Minute); ; {
		changes, err := w.api.Changes(ctx, reason)
		if err != nil {
			return err
		}
		done, last := count(changes)
		if bar != nil {
			bar.SetCurrent(int64(done))
		}
		if done >= n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d keys changed in time; the last error: %s", done, n, last)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func count(changes []rotation.Change) (done int, last string) {
	for _, c := range changes {
		if c.Step == rotation.StepDone {
			done++
		} else if c.LastError != "" {
			last = fmt.Sprintf("%s %s: %s", c.Meter, c.Role, c.LastError)
		}
	}
	return done, last
}

func (w *world) refuse(ctx context.Context) (string, error) {
	// The honest ends come back first, under the new keys, so that there is something to record and to replay.
	for _, d := range w.concentrators {
		if _, err := w.api.Associate(ctx, d); err != nil {
			return "", err
		}
	}
	r, err := drill.Attack(ctx, drill.Target{
		Row: w.rows[meterVictim], LAN: w.fleet.Addresses()[meterVictim].LAN.String(), Profile: w.cfg.Profile,
		Frames: w.taps[meterVictim].Frames(),
	}, drill.Deps{Rand: w.cfg.Rand, Now: w.now})
	if err != nil {
		return "", err
	}
	if len(r.Accepted) > 0 {
		return "", fmt.Errorf("the meter did not refuse: %v", r.Accepted)
	}
	f := &w.report.Refused
	f.OldKey, f.ReplayedAssociation, f.ReplayedAPDU, f.ReplayedKey = r.OldKey, r.ReplayedAssociation, r.ReplayedAPDU, r.ReplayedKey
	f.KeySideways, f.TrafficUnderAssociationKey, f.KeyRead = r.KeySideways, r.TrafficUnderAssociationKey, r.KeyRead
	n := f.OldKey + f.ReplayedAssociation + f.ReplayedAPDU + f.ReplayedKey + f.KeySideways + f.TrafficUnderAssociationKey + f.KeyRead
	return fmt.Sprintf("%d attacks on one meter by an insider with the maker's keys and a recording of the line: all refused", n), nil
}

func (w *world) command(ctx context.Context) (string, error) {
	victim := w.rows[meterVictim].Title
	for _, op := range []string{"open", "arm"} {
		if err := w.api.Breaker(ctx, api.Breaker{Meter: victim, Op: op}); err != nil {
			return "", fmt.Errorf("breaker %s: %w", op, err)
		}
		w.report.BreakerOperations++
	}
	// The customer presses the button of the armed breaker: the simulated one a moment later.
	var s api.BreakerStatus
	err := w.await("the breaker", func() (err error) {
		if s, err = w.api.BreakerStatus(ctx, victim); err == nil && s.State != "closed" {
			err = fmt.Errorf("it is %s", s.State)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	w.report.BreakerOperations++
	err = w.api.Breaker(ctx, api.Breaker{Meter: victim, Op: "open", Through: "concentrator"})
	told, err := w.concentratorTried(ctx, err)
	if err != nil {
		return "", err
	}
	if err := w.clocks(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("breaker opened, armed, closed, %d events read; by the concentrator: %s; %d clocks set", len(s.Events), told, w.report.ClocksSet), nil
}

// concentratorTried judges what became of the concentrator's own try at the breaker.
func (w *world) concentratorTried(ctx context.Context, err error) (string, error) {
	if w.cfg.Profile == "hardened" {
		if err == nil {
			return "", errors.New("the concentrator opened the breaker")
		}
		if !strings.Contains(err.Error(), dlms.ActionReadWriteDenied.String()) && !strings.Contains(err.Error(), dlms.ActionObjectUndefined.String()) {
			return "", fmt.Errorf("want the meter's own refusal of the concentrator: %w", err)
		}
		w.report.Refused.ConcentratorBreaker++
		return "refused", nil
	}
	if err != nil {
		return "", fmt.Errorf("profile linky, where the concentrator may: %w", err)
	}
	return "DONE (as published)", w.api.Breaker(ctx, api.Breaker{Meter: w.rows[meterVictim].Title, Op: "arm"})
}

// clocks corrects the clocks within the bound by broadcast and sets the cold one, and reads what the cold one kept from
// being read.
func (w *world) clocks(ctx context.Context) error {
	for _, d := range w.concentrators {
		b, err := w.api.BroadcastClock(ctx, d)
		if err != nil || len(b.Failed) > 0 {
			return errors.Join(err, fmt.Errorf("broadcast: %v", b.Failed))
		}
	}
	if err := w.api.SetClock(ctx, w.rows[meterCold].Title); err != nil {
		return fmt.Errorf("cold clock: %w", err)
	}
	for _, i := range []int{meterSlow, meterCold} {
		m, ok := w.fleet.Meter(w.rows[i].Title)
		if !ok {
			return fmt.Errorf("meter %d is not there", i)
		}
		err := w.await("the clock of "+m.SystemTitle().String(), func() error {
			shows, cold := m.Clock()
			if off := shows.Sub(w.now()); cold || off.Abs() > 5*time.Second {
				return fmt.Errorf("it is %s off", off)
			}
			return nil
		})
		if err != nil {
			return err
		}
		w.report.ClocksSet++
	}
	c, err := w.api.Collect(ctx, w.memo.Day)
	w.report.LoadCurveValues = c.Values
	return err
}

func (w *world) rollCall(ctx context.Context) (string, error) {
	r, err := w.api.RollCall(ctx)
	if err != nil {
		return "", err
	}
	w.report.Lost = len(r.Missing)
	for _, t := range w.taps {
		in, out := t.Bytes()
		w.report.LANBytes += in + out
	}
	for _, t := range w.localTaps {
		in, out := t.Bytes()
		w.report.LocalBytes += in + out
	}
	s, err := w.api.Status(ctx)
	if err != nil {
		return "", err
	}
	w.report.WANBytes = s.BusBytesIn + s.BusBytesOut
	if err := w.oracle.Err(); err != nil {
		w.report.NoncesRepeated++
		return "", err
	}
	if w.report.Lost > 0 {
		return "", fmt.Errorf("%w: %d meters lost, the first %s", ErrFailed, w.report.Lost, r.Missing[0])
	}
	return fmt.Sprintf("the IS reaches %d of %d meters; %d seals watched, no nonce twice", r.Answered, w.cfg.Meters, w.oracle.Seals()), nil
}
