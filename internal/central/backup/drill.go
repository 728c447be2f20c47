package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// Drilled is what a drill has proven.
type Drilled struct {
	Report
	Proof
	Seconds float64 `json:"seconds"`
}

// Proof counts what opens.
type Proof struct {
	Meters  int `json:"meters"`
	Keys    int `json:"keys"`
	Devices int `json:"devices"`
	// Refused says what does not open, or is not there, up to maxRefused of it; Failed counts all.
	Failed  int      `json:"failed"`
	Refused []string `json:"refused,omitempty"`
}

// Sound reports whether everything opens.
func (p Proof) Sound() bool { return p.Failed == 0 }

// maxRefused bounds the list of what does not open.
const maxRefused = 100

func (p *Proof) refuse(format string, args ...any) {
	if p.Failed++; p.Failed <= maxRefused {
		p.Refused = append(p.Refused, fmt.Sprintf(format, args...))
	}
}

// Drill restores a backup into a directory of its own below scratch, takes the journals over, proves that every key of
// every meter and device opens and verifies, and removes all of it. Nothing that is restored is worked with.
func Drill(ctx context.Context, o Options, scratch string) (d Drilled, err error) {
	began := o.Now()
	dir, err := os.MkdirTemp(scratch, "meterseal-drill-*") // 0700
	if err != nil {
		return d, fmt.Errorf("drill: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if d.Report, err = o.stage(ctx, dir); err != nil {
		return d, fmt.Errorf("drill: %w", err)
	}
	root, err := vault.UnsealHold(dir, o.Passphrase, o.Token)
	if err != nil {
		return d, fmt.Errorf("drill: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	db, err := store.Open(ctx, dir, store.Options{Log: o.Log})
	if err != nil {
		return d, fmt.Errorf("drill: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if d.Proof, err = Prove(ctx, db, root, o.progress("keys proven")); err != nil {
		return d, fmt.Errorf("drill: %w", err)
	}
	d.Seconds = o.Now().Sub(began).Round(time.Millisecond).Seconds()
	return d, nil
}

// proveBatch is how many rows are read at a time.
const proveBatch = 2000

// proveWidth is how many rows are opened at a time: as many as a token has sessions, unless it is told otherwise.
const proveWidth = 4

// check opens rows and says of each why it does not open. An error is that of a token which was removed, is locked or full:
// nothing can be said of a row that it was asked for then.
func check(root vault.Hold, rows []vault.KeyRow) (refused []error, err error) {
	refused = make([]error, len(rows))
	var g errgroup.Group
	g.SetLimit(proveWidth)
	for n := range proveWidth {
		g.Go(func() error {
			for i := n; i < len(rows); i += proveWidth {
				if refused[i] = root.CheckRow(rows[i]); errors.Is(refused[i], vault.ErrToken) {
					return fmt.Errorf("%s: %w", rows[i].Ref, refused[i])
				}
			}
			return nil
		})
	}
	return refused, g.Wait()
}

// Prove opens every key row of every meter and device, and checks that each meter has the keys of its profile. Where the
// keys are in a token that stops to serve, it has proven nothing and says so.
func Prove(ctx context.Context, db *store.Store, root vault.Hold, progress func(done, all int)) (p Proof, err error) {
	all, err := db.CountKeys(ctx)
	if err != nil {
		return p, err
	}
	have := map[dlms.SystemTitle]uint8{}
	var after role.KeyRef
	for done := 0; ; {
		rows, err := db.KeyRowsAfter(ctx, after, proveBatch)
		if err != nil {
			return p, err
		}
		refused, err := check(root, rows)
		if err != nil {
			return p, err
		}
		for i, row := range rows {
			after = row.Ref
			if refused[i] != nil {
				p.refuse("%s: %v", row.Ref, refused[i])
				continue
			}
			p.Keys++
			have[row.Ref.Meter] |= 1 << row.Ref.Role
		}
		if done += len(rows); progress != nil {
			progress(done, all)
		}
		if len(rows) < proveBatch {
			break
		}
	}
	if err := p.meters(ctx, db, have); err != nil {
		return p, err
	}
	return p, p.devices(ctx, db, root)
}

// meters checks that no meter lacks a key.
func (p *Proof) meters(ctx context.Context, db *store.Store, have map[dlms.SystemTitle]uint8) error {
	meters, err := db.Meters(ctx)
	if err != nil {
		return err
	}
	for _, m := range meters {
		complete := true
		for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
			if have[m.Title]&(1<<r) == 0 && (r != role.CCIS || m.Profile == fleet.ProfileHardened) {
				p.refuse("%s: no %s opens", m.Title, r)
				complete = false
			}
		}
		if complete {
			p.Meters++
		}
	}
	return nil
}

func (p *Proof) devices(ctx context.Context, db *store.Store, root vault.Hold) error {
	devices, err := db.Devices(ctx)
	if err != nil {
		return err
	}
	for _, d := range devices {
		row, known, err := db.DeviceRow(ctx, d.Title)
		if err != nil {
			return err
		}
		err = root.CheckDevice(row)
		switch {
		case errors.Is(err, vault.ErrToken):
			return err
		case !known || err != nil:
			p.refuse("device %s: %v", d.Title, err)
			continue
		}
		p.Devices++
	}
	return nil
}
