package rotation

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// moving is a store in which meters are moved while a pass is at work: it refuses to save their changes.
type moving struct {
	*world
	moved []dlms.SystemTitle
}

func (m *moving) Save(ctx context.Context, changes []Change) error {
	for _, c := range changes {
		if slices.Contains(m.moved, c.Meter) {
			return ErrMoved
		}
	}
	return m.world.Save(ctx, changes)
}

func TestAMeterMovedInTheMiddleOfAPassIsNotSentAKeyAndHoldsNoOtherUp(t *testing.T) {
	w := newWorld(7, 3)
	w.faulty = false
	gone := dlms.SystemTitle{'M', 'S', 'L', 0}
	s := &moving{world: w, moved: []dlms.SystemTitle{gone}}
	r := w.reconciler()
	r.cfg.Store = s
	askAll(t, w)
	for range 6 {
		if _, err := r.Pass(t.Context()); err != nil && !errors.Is(err, ErrMoved) {
			t.Fatal(err)
		}
	}
	for mr, m := range w.meters {
		if want := map[bool]uint32{true: 1, false: 2}[mr.Meter == gone]; m.inForce != want {
			t.Errorf("%s %s: want v%d in force, got v%d", mr.Meter, mr.Role, want, m.inForce)
		}
	}
	s.moved = nil
	w.drive(t, 20)
	for _, r := range role.Associations() {
		if m := w.meters[MeterRole{gone, r}]; m.inForce == 1 {
			t.Errorf("%s of the moved meter was never changed", r)
		}
	}
	for _, law := range w.broken {
		t.Error(law)
	}
}
