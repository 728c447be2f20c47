package storetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// lent has a meter of whose CC_LOCALE terminals have all sorts of things, and one of which nobody has anything.
func lent(t *testing.T, w *world) {
	meters, _ := w.enrol(2)
	old, now := keyOf(role.CCLOCALE, meters[0], 1, vault.Superseded), keyOf(role.CCLOCALE, meters[0], 2, vault.Active)
	terminals := []dlms.SystemTitle{title('T', 1), title('T', 2), title('T', 3)}
	today := dlms.DayOf(at)
	day := func(n int) dlms.Day { return dlms.DayOf(at.AddDate(0, 0, n)) }
	grant := func(id string, terminal dlms.SystemTitle, state string) fleet.Grant {
		return fleet.Grant{ID: id, Terminal: terminal, Meters: meters[:1], NotBefore: at, NotAfter: at.Add(time.Hour), State: state}
	}
	w.update(func(ctx context.Context) error {
		for _, d := range terminals {
			row := deviceRow(d)
			row.Kind = "terminal"
			w.must(w.AddDevice(ctx, row))
		}
		w.must(w.AddKeys(ctx, []vault.KeyRow{old, now}))
		for _, g := range []fleet.Grant{grant("sealed", terminals[0], "live"), grant("unsealed", terminals[2], "live"), grant("over", terminals[2], "ended")} {
			w.must(w.AddGrant(ctx, g, at))
		}
		with := func(h vault.Handout, last dlms.Day) vault.Handout { h.Grant, h.LastDay = "sealed", last; return h }
		return w.AddHandouts(ctx, []vault.Handout{
			with(handout(terminals[0], old, 1), day(4)), with(handout(terminals[0], now, 2), today), with(handout(terminals[0], now, 3), today),
			with(handout(terminals[0], now, 4), day(2)), with(handout(terminals[0], now, 5), day(-1)), with(handout(terminals[1], now, 6), dlms.Day{}),
		})
	})
	got, err := w.Lent(t.Context(), meters, today)
	w.must(err)
	var text []string
	for _, l := range got[0] {
		text = append(text, strings.TrimSpace(l.Terminal.String()+" "+l.LastDay.String()+" "+l.NotAfter.UTC().Format("15:04")))
	}
	slices.Sort(text)
	zero := time.Time{}.Format("15:04")
	want := []string{
		terminals[0].String() + " " + today.String() + " " + zero, terminals[0].String() + " " + day(2).String() + " " + zero,
		terminals[1].String() + " 0000-00-00 " + zero, terminals[2].String() + " 0000-00-00 " + at.Add(time.Hour).Format("15:04"),
	}
	if !slices.Equal(text, want) || len(got[1]) != 0 {
		t.Errorf("want\n%s\ngot\n%s\nand of the other meter %v", strings.Join(want, "\n"), strings.Join(text, "\n"), got[1])
	}
}
