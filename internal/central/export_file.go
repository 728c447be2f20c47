package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/shipment"
)

// partSuffix is what the name of an export ends with until it is whole. What a crash left under it is written anew.
const partSuffix = ".part"

// writeExport gives meters away into a file that is under its name whole and on the disk, or not at all. After a crash the
// same export can be made again, also where its file is there already: that one is replaced. No other file ever is.
func (is *IS) writeExport(ctx context.Context, q api.MeterExport, meters []dlms.SystemTitle) (keys int, err error) {
	path := filepath.Clean(q.File)
	again, err := is.hasExport(path, q, meters)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	part := path + partSuffix
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("export: %w", err)
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("export: %w", err)
	}
	if keys, err = is.vault.ExportMeters(ctx, who(ctx), q.To, meters, stepwise{f, is.at}); err == nil {
		err = errors.Join(is.at("export, written"), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(part))
	}
	if err := is.publish(part, path, again); err != nil {
		return 0, fmt.Errorf("export: the meters are given away, and their file is not there: %w; make the same export again", err)
	}
	return keys, nil
}

// publish gives a file its name, durably. Without again it replaces nothing.
func (is *IS) publish(part, path string, again bool) error {
	if err := is.at("export, synced"); err != nil {
		return err
	}
	if again {
		if err := os.Rename(part, path); err != nil {
			return err
		}
	} else if err := os.Link(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	} else if err := errors.Join(is.at("export, named"), os.Remove(part)); err != nil {
		return err
	}
	if err := is.at("export, alone"); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hasExport reports whether a file is this very export, made before. Any other file is an error, before anything is done.
func (is *IS) hasExport(path string, q api.MeterExport, meters []dlms.SystemTitle) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := is.isExport(f, q, meters); err != nil {
		return false, fmt.Errorf("%s is there, and is not this export made before: %w: %w", path, err, fs.ErrExist)
	}
	return true, nil
}

func (is *IS) isExport(r io.Reader, q api.MeterExport, meters []dlms.SystemTitle) error {
	own, err := audit.ParsePublicKey(is.auditKey)
	if err != nil {
		return err
	}
	f, err := shipment.SpoolTransfer(is.cfg.Data, r)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(f.Verify(is.auditKey, own.Verify), f.Header().For(q.To)); err != nil {
		return err
	}
	want := make(map[dlms.SystemTitle]bool, len(meters))
	for _, m := range meters {
		want[m] = true
	}
	for {
		row, bad, err := f.Next()
		switch {
		case errors.Is(err, io.EOF) && len(want) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%d meters are not in it", len(want))
		case err != nil:
			return err
		case bad != nil:
			return bad
		case !want[row.Title]:
			return fmt.Errorf("%s is in it", row.Title)
		}
		delete(want, row.Title)
	}
}

// at is asked where a crash would matter, for a test of them.
func (is *IS) at(point string) error {
	if is.deps.Crash == nil {
		return nil
	}
	return is.deps.Crash(point)
}

// stepwise is a file of which each write is a point of its own.
type stepwise struct {
	out io.Writer
	at  func(point string) error
}

// Write implements io.Writer.
func (s stepwise) Write(b []byte) (int, error) {
	if err := s.at("export, write"); err != nil {
		return 0, err
	}
	return s.out.Write(b)
}
