package central

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ExportMeters implements api.Backend.
func (is *IS) ExportMeters(ctx context.Context, q api.MeterExport) (out api.Exported, err error) {
	if !filepath.IsAbs(q.File) {
		return out, fmt.Errorf("export: file: want an absolute path on the machine of the central system, got %q", q.File)
	}
	meters, err := is.leaving(ctx, q)
	if err != nil {
		return out, err
	}
	if err := is.mayLeave(ctx, q, meters); err != nil {
		return out, err
	}
	out = api.Exported{File: q.File, To: q.To.Fingerprint(), Meters: len(meters)}
	if out.Keys, err = is.writeExport(ctx, q, meters); err != nil {
		return out, err
	}
	return out, is.withdraw(ctx, meters)
}

// ErrUnproven is returned for meters that are in the middle of a key change.
var ErrUnproven = errors.New("a key change of the meter is under way that may have reached it, and is not proven")

// mayLeave refuses meters that stand between two keys, unless the caller wants them to go like that: the file has every version
// that they may have, and it is the other head-end's turn to search. What nothing has left the house for is ended without a
// word, with the commit that gives the meter away.
func (is *IS) mayLeave(ctx context.Context, q api.MeterExport, meters []dlms.SystemTitle) error {
	if q.Unproven {
		return nil
	}
	open, err := is.store.Changes().Unproven(ctx, meters)
	if err != nil || len(open) == 0 {
		return err
	}
	return fmt.Errorf("export: %d meters, %s the first: %w: wait for it, or give them away as they are (unproven)", len(open), open[0], ErrUnproven)
}

// withdraw has the concentrators of meters that are gone forget their keys, soon.
func (is *IS) withdraw(ctx context.Context, meters []dlms.SystemTitle) error {
	known, err := is.fleet.MetersByTitle(ctx, meters)
	by := map[dlms.SystemTitle][]dlms.SystemTitle{}
	for _, m := range known {
		by[m.Concentrator] = append(by[m.Concentrator], m.Title)
	}
	delete(by, dlms.SystemTitle{})
	for d, gone := range by {
		is.greet(d, gone...)
	}
	return err
}

// stillHere refuses meters that were given to another head-end.
func (is *IS) stillHere(ctx context.Context, meters ...dlms.SystemTitle) error {
	gone, err := is.store.ExportRows(ctx, meters)
	for _, m := range meters {
		if g, ok := gone[m]; ok && err == nil {
			err = fmt.Errorf("%w: %s, to %s", vault.ErrExported, m, g.To)
		}
	}
	return err
}

// inService leaves out meters that were given to another head-end.
func (is *IS) inService(ctx context.Context, meters []dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	gone, err := is.store.ExportRows(ctx, meters)
	if len(gone) == 0 {
		return meters, err
	}
	var out []dlms.SystemTitle
	for _, m := range meters {
		if _, away := gone[m]; !away {
			out = append(out, m)
		}
	}
	return out, err
}

// leaving lists the meters that are named, or those of a concentrator.
func (is *IS) leaving(ctx context.Context, q api.MeterExport) ([]dlms.SystemTitle, error) {
	if (len(q.Meters) > 0) == !q.Concentrator.IsZero() {
		return nil, errors.New("export: want either meters or a concentrator")
	}
	if len(q.Meters) > 0 {
		return q.Meters, nil
	}
	all, err := is.fleet.Meters(ctx)
	var out []dlms.SystemTitle
	for _, m := range all {
		if m.Concentrator == q.Concentrator {
			out = append(out, m.Title)
		}
	}
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("export: no meter is under %s", q.Concentrator)
	}
	return out, err
}

// ImportMeters implements api.Backend.
func (is *IS) ImportMeters(ctx context.Context, q api.MeterImport) (*shipment.Report, error) {
	from, err := audit.ParsePublicKey(q.From)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(q.File) {
		return nil, fmt.Errorf("import: file: want an absolute path on the machine of the central system, got %q", q.File)
	}
	f, err := os.Open(filepath.Clean(q.File))
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	return is.vault.ImportTransfer(ctx, who(ctx), f, from, q.From)
}
