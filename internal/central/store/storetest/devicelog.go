package storetest

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

func deviceLog(t *testing.T, w *world) {
	_, dc := w.enrol(1)
	l, err := keylog.Open(filepath.Join(t.TempDir(), "log"), func() time.Time { return at })
	w.must(err)
	defer l.Close()
	for range 4 {
		w.must(l.Append("used CC_LAN: \u00e9"))
	}
	use := keylog.Use{As: "broadcast", Ref: role.KeyRef{Meter: title('M', 1), Role: role.CCLAN, Version: 4}}
	for range 3 {
		w.must(l.Append(use.String()))
	}
	entries, err := l.Since(0, 4)
	w.must(err)
	take := func(what string, told []keylog.Entry, fresh int, want error) {
		t.Helper()
		if got, err := w.AppendDeviceLog(t.Context(), dc, told); !errors.Is(err, want) || len(got) != fresh {
			t.Errorf("%s: want %d new and %v, got %d and %v", what, fresh, want, len(got), err)
		}
	}
	take("the beginning", entries[:2], 2, nil)
	take("a gap", entries[3:], 0, keylog.ErrChain)
	take("what is there already", entries[:1], 0, nil)
	altered := slices.Clone(entries)
	altered[1].Text = "nothing"
	take("an altered entry that is there already", altered, 0, keylog.ErrChain)
	other, err := keylog.Open(filepath.Join(t.TempDir(), "log"), func() time.Time { return at.Add(time.Second) })
	w.must(err)
	defer other.Close()
	for range 4 {
		w.must(other.Append("another story"))
	}
	rewritten, err := other.Since(0, 4)
	w.must(err)
	take("another story", rewritten, 0, keylog.ErrChain)
	take("another end", append(slices.Clone(entries[:2]), rewritten[2:]...), 0, keylog.ErrChain)
	take("the whole, of which some is there", entries[1:], 2, nil)
	take("the whole again", entries, 0, nil)
	if err := w.CheckDeviceLog(t.Context(), dc, 3); !errors.Is(err, store.ErrEpoch) {
		t.Errorf("a log that is shorter than what it told: want ErrEpoch, got %v", err)
	}
	w.must(w.CheckDeviceLog(t.Context(), dc, 4))
	told, err := l.Since(4, 3)
	w.must(err)
	take("uses", told, 3, nil)
	uses, err := w.DeviceUses(t.Context(), use.Ref.Meter, store.DeviceUse{}, 2)
	w.must(err)
	more, err := w.DeviceUses(t.Context(), use.Ref.Meter, uses[1], 2)
	w.must(err)
	if len(uses) != 2 || len(more) != 1 || more[0].Sequence != 7 || more[0].Device != dc || more[0].Text != use.String() {
		t.Errorf("uses of the meter: got %+v and %+v", uses, more)
	}
}
