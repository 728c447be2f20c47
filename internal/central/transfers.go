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
	f, err := os.OpenFile(filepath.Clean(q.File), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return out, fmt.Errorf("export: %w", err)
	}
	out = api.Exported{File: q.File, To: q.To.Fingerprint(), Meters: len(meters)}
	out.Keys, err = is.vault.ExportMeters(ctx, who(ctx), q.To, meters, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return out, errors.Join(err, os.Remove(f.Name()))
	}
	return out, nil
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
