package central

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/relay"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// reasonDoubt is why a key is searched for of which no change was under way.
const reasonDoubt = "the meter does not answer under the key in force"

// doubtPause is how long after a search a key is not searched for again because of the same doubt. A concentrator, or
// anybody on the line, can say that a meter refuses.
const doubtPause = time.Hour

// doubt asks for a search of keys that meters seem not to have, though no change of them is under way: one that was given
// up has come late, carried by a concentrator whose clock is wrong, or that lies. It returns those of which no
// change was under way.
func (is *IS) doubt(ctx context.Context, keys []rotation.MeterRole) (still []rotation.MeterRole, err error) {
	var ask []rotation.Change
	for _, k := range keys {
		last, err := is.store.Changes().Last(ctx, k)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, err
		case last.Step != rotation.StepDone:
			continue
		}
		still = append(still, k)
		if err == nil && last.Reason == reasonDoubt && is.deps.Now().Sub(last.DoneAt) < doubtPause && !last.DoneAt.After(is.deps.Now()) {
			continue
		}
		ask = append(ask, rotation.Change{Meter: k.Meter, Role: k.Role, Reason: reasonDoubt})
	}
	if len(ask) == 0 {
		return still, nil
	}
	_, err = is.reconciler.Search(ctx, ask)
	return still, err
}

// lacking looks at what a concentrator says of meters that it could not open an association with: it is given its keys where
// it lacks one, and a meter of its own that refuses what it has is searched for.
func (is *IS) lacking(ctx context.Context, d dlms.SystemTitle, failed []bus.MeterFault) error {
	if slices.ContainsFunc(failed, func(f bus.MeterFault) bool { return f.Code == bus.FaultNoKey || f.Code == bus.FaultKeyRefused }) {
		is.greet(d)
	}
	var titles []dlms.SystemTitle
	for _, f := range failed {
		if f.Code == bus.FaultKeyRefused {
			titles = append(titles, f.Meter)
		}
	}
	if len(titles) == 0 {
		return nil
	}
	known, err := is.fleet.MetersByTitle(ctx, titles)
	if err != nil {
		return err
	}
	var keys []rotation.MeterRole
	for _, t := range titles {
		if m, ok := known[t]; ok && m.Concentrator == d {
			keys = append(keys, rotation.MeterRole{Meter: t, Role: role.CCLAN})
		}
	}
	_, err = is.doubt(ctx, keys)
	return err
}

// called is what a roll call finds of one meter: keys that it has and that the vault does not have in force.
func (is *IS) called(ctx context.Context, m fleet.Meter) (astray []rotation.MeterRole, err error) {
	shown, err := is.hand.CheckValues(ctx, m.Title, "roll call")
	if err != nil {
		if errors.Is(err, rotation.ErrEntry) {
			entry, e := is.hand.Entry(ctx, m.Title)
			if e == nil {
				astray = append(astray, rotation.MeterRole{Meter: m.Title, Role: entry})
			}
		}
		return astray, err
	}
	for _, r := range []role.Role{role.CCLAN, role.CCLOCALE} {
		cv, shows := shown[r]
		if !shows {
			continue
		}
		active, err := is.vault.Active(ctx, []vault.Target{{Meter: m.Title, Role: r}})
		if err != nil && !errors.Is(err, vault.ErrUnknownKey) {
			return astray, err
		}
		if err != nil || active[0].CheckValue != cv {
			astray = append(astray, rotation.MeterRole{Meter: m.Title, Role: r})
		}
	}
	return astray, nil
}

// astray says which keys of a roll call are searched for.
func (is *IS) astray(ctx context.Context, r *api.RollCall, keys []rotation.MeterRole) error {
	slices.SortFunc(keys, func(a, b rotation.MeterRole) int {
		if c := bytes.Compare(a.Meter[:], b.Meter[:]); c != 0 {
			return c
		}
		return int(a.Role) - int(b.Role)
	})
	still, err := is.doubt(ctx, keys)
	for _, k := range still {
		r.Astray = append(r.Astray, api.AstrayKey{Meter: k.Meter, Role: k.Role})
	}
	return err
}

// tries bounds what is tried on meters that may lock out.
type tries struct{ is *IS }

var _ relay.Tries = tries{}

// Begin implements relay.Tries.
func (t tries) Begin(ctx context.Context, meter dlms.SystemTitle) error {
	may, err := t.is.store.BeginTry(ctx, meter, t.is.deps.Now(), t.is.cfg.TriesPerHour)
	if err == nil && !may {
		err = relay.ErrTries
	}
	return err
}

// Opened implements relay.Tries.
func (t tries) Opened(ctx context.Context, meter dlms.SystemTitle) error {
	return t.is.store.ForgetTries(ctx, meter)
}
