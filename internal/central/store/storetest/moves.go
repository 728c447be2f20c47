package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// lanKey is a version of a meter's CC_LAN.
func lanKey(m dlms.SystemTitle, version uint32, s vault.State) vault.KeyRow {
	return keyOf(role.CCLAN, m, version, s)
}

func keyOf(r role.Role, m dlms.SystemTitle, version uint32, s vault.State) vault.KeyRow {
	k := keyRow(m, version, s)
	k.Ref.Role = r
	k.Fingerprint[12] = byte(r)
	return k
}

// handout is a version sealed to a device, some minutes after at.
func handout(d dlms.SystemTitle, k vault.KeyRow, minutes int) vault.Handout {
	return vault.Handout{Device: d, Ref: k.Ref, FirstCounter: 1, LastCounter: 9, At: at.Add(time.Duration(minutes) * time.Minute)}
}

// second adds another concentrator.
func (w *world) second() dlms.SystemTitle {
	w.t.Helper()
	d := title('D', 2)
	w.update(func(ctx context.Context) error { return w.AddDevice(ctx, deviceRow(d)) })
	return d
}

// move moves meters as the fleet does.
func (w *world) move(to dlms.SystemTitle, meters ...dlms.SystemTitle) {
	w.t.Helper()
	w.update(func(ctx context.Context) error {
		err := w.AddMoves(ctx, to, meters, at)
		_, errA := w.AssignMeters(ctx, to, meters)
		return errors.Join(err, errA)
	})
}

func moves(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	other := w.second()
	keys := []vault.KeyRow{lanKey(meters[0], 1, vault.Active), lanKey(meters[1], 1, vault.Active), lanKey(meters[2], 1, vault.Active)}
	w.update(func(ctx context.Context) error {
		return errors.Join(w.AddKeys(ctx, keys),
			w.AddHandouts(ctx, []vault.Handout{handout(dc, keys[0], 1), handout(dc, keys[1], 5), handout(dc, keys[1], 3), handout(other, keys[2], 1)}))
	})
	w.move(dc, meters...) // from nowhere: no move
	w.move(other, meters...)
	moved, err := w.Moved(t.Context(), 10)
	w.must(err)
	if len(moved) != 3 || moved[0].Meter != meters[1] || moved[1].Meter != meters[0] || !moved[0].Since.Equal(at.Add(5*time.Minute)) ||
		moved[0].Concentrator != other || moved[2].Meter != meters[2] || !moved[2].Since.IsZero() {
		t.Fatalf("want the newest exposure first and what was handed out nowhere else last, got %+v", moved)
	}
	w.ask(other, []role.Role{role.CCLAN}, meters[0])
	if moved, err = w.Moved(t.Context(), 10); err != nil || len(moved) != 2 || moved[0].Meter != meters[1] {
		t.Errorf("want those without a change under way, got %+v, %v", moved, err)
	}
	w.must(w.DropMoves(t.Context(), meters[2:]))
	forget, err := w.ToForget(t.Context(), dc)
	if w.must(err); !slices.Equal(forget, meters) {
		t.Errorf("a move was dropped of which the concentrator was not told: got %v", forget)
	}
	w.move(dc, meters[0])
	w.must(w.Told(t.Context(), dc, meters[1:2]))
	untold, err := w.Untold(t.Context())
	w.must(err)
	forget, errF := w.ToForget(t.Context(), dc)
	if w.must(errF); !slices.Equal(forget, meters[2:]) || !slices.Equal(untold, []dlms.SystemTitle{dc, other}) {
		t.Errorf("want only what is elsewhere to be forgotten: got %v by %v", forget, untold)
	}
	w.update(func(ctx context.Context) error { _, err := w.SetDeviceState(ctx, dc, fleet.DeviceRevoked); return err })
	w.must(w.DropMoves(t.Context(), meters[1:]))
	untold, err = w.Untold(t.Context())
	w.must(err)
	revoked, err := w.Revoked(t.Context())
	if w.must(err); !slices.Equal(untold, []dlms.SystemTitle{other}) || !slices.Equal(revoked, []dlms.SystemTitle{dc}) {
		t.Errorf("want nothing more for a revoked concentrator: got %v untold, %v revoked", untold, revoked)
	}
	if moved, err = w.Moved(t.Context(), 10); err != nil || len(moved) != 0 {
		t.Errorf("want the move of the meter with a change under way alone, got %+v, %v", moved, err)
	}
}

// movedChanges: what is not sent starts anew under the other concentrator, what is sent goes on there, and nobody who read
// it before writes it.
func movedChanges(t *testing.T, w *world) {
	meters, dc := w.enrol(4)
	other := w.second()
	w.update(func(ctx context.Context) error {
		var keys []vault.KeyRow
		for i, m := range meters {
			keys = append(keys, lanKey(m, 1, vault.Active), lanKey(m, 2, []vault.State{vault.Pending, vault.Sent, vault.Sent, vault.Pending}[i]))
		}
		return w.AddKeys(ctx, keys)
	})
	w.ask(dc, []role.Role{role.CCIS, role.CCLAN}, meters[:3]...)
	c := w.Changes()
	steps := []rotation.Step{rotation.StepGenerated, rotation.StepProvisioned, rotation.StepSent}
	var before []rotation.Change
	for i, step := range steps {
		ch, err := c.Last(t.Context(), rotation.MeterRole{Meter: meters[i], Role: role.CCLAN})
		w.must(err)
		ch.Step, ch.To = step, 2
		before = append(before, ch)
	}
	w.must(c.Save(t.Context(), before))
	w.move(other, meters...)
	var abandon []role.KeyRef
	w.update(func(ctx context.Context) (err error) { abandon, err = c.Move(ctx, other, meters); return err })
	want := []role.KeyRef{lanKey(meters[0], 2, "").Ref, lanKey(meters[1], 2, "").Ref, lanKey(meters[3], 2, "").Ref}
	if !slices.Equal(abandon, want) {
		t.Errorf("want %v abandoned, got %v", want, abandon)
	}
	for i, step := range []rotation.Step{rotation.StepWanted, rotation.StepWanted, rotation.StepSent} {
		lan, err := c.Last(t.Context(), rotation.MeterRole{Meter: meters[i], Role: role.CCLAN})
		w.must(err)
		is, err := c.Last(t.Context(), rotation.MeterRole{Meter: meters[i], Role: role.CCIS})
		w.must(err)
		if lan.Step != step || lan.Concentrator != other || (lan.To == 0) != (step == rotation.StepWanted) || is.Concentrator != other {
			t.Errorf("%s: got %+v and %+v", meters[i], lan, is)
		}
	}
	if err := c.Save(t.Context(), before[:1]); !errors.Is(err, rotation.ErrMoved) {
		t.Errorf("a change read before its meter was moved: want ErrMoved, got %v", err)
	}
	n, err := c.Ask(t.Context(), []rotation.Change{{Meter: meters[3], Concentrator: dc, Role: role.CCLAN, Step: rotation.StepWanted, DueAt: at, CreatedAt: at}})
	w.must(err)
	if late, err := c.Last(t.Context(), rotation.MeterRole{Meter: meters[3], Role: role.CCLAN}); n != 1 || err != nil || late.Concentrator != other {
		t.Errorf("asked for with what was read before the move: got %d, %+v, %v", n, late, err)
	}
}
