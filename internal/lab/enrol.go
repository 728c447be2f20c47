package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

func (w *world) enrol(ctx context.Context) (string, error) {
	if err := w.registerMaker(ctx); err != nil {
		return "", err
	}
	first, err := w.factory.ImportShipment(ctx, bytes.NewReader(w.shipment))
	if err != nil {
		return "", err
	}
	if first.Imported+first.Unchanged != w.cfg.Meters {
		return "", fmt.Errorf("import: %s", first)
	}
	again, err := w.factory.ImportShipment(ctx, bytes.NewReader(w.shipment))
	if err != nil || again.Unchanged != w.cfg.Meters || again.Imported != 0 {
		return "", errors.Join(err, fmt.Errorf("second import: %s", again))
	}
	if err := w.badShipments(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d meters from the maker's shipment; again: nothing changed; bad files and rows: %d refused",
		w.cfg.Meters, w.report.RowsRefused), nil
}

// registerMaker makes the maker known, after a file of it was refused.
func (w *world) registerMaker(ctx context.Context) error {
	known, err := w.api.Makers(ctx)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		if _, err := w.factory.ImportShipment(ctx, bytes.NewReader(w.shipment)); err == nil {
			return errors.New("a shipment of an unknown maker was taken")
		}
		w.report.RowsRefused++
	}
	p := w.maker.Public()
	return w.api.AddMaker(ctx, api.MakerRequest{Key: p, Fingerprint: p.Fingerprint()})
}

// badShipments imports a file cut short, one that was altered, one for somebody else, one that somebody else has signed, and
// known titles with other keys.
func (w *world) badShipments(ctx context.Context) error {
	cut, err := w.factory.ImportShipment(ctx, bytes.NewReader(w.shipment[:len(w.shipment)-40]))
	if err == nil && (cut == nil || cut.Clean()) {
		return errors.New("a shipment cut short was taken without a word")
	}
	w.report.RowsRefused++
	rows, err := shipment.Generate(w.cfg.Rand, maker, 2, w.cfg.Profile, 1)
	if err != nil {
		return err
	}
	altered := bytes.Clone(w.shipment)
	altered[len(altered)/2] ^= 1
	if _, err := w.factory.ImportShipment(ctx, bytes.NewReader(altered)); err == nil {
		return errors.New("an altered shipment was taken")
	}
	stranger, err := transport.Generate(w.cfg.Rand)
	if err != nil {
		return err
	}
	if _, err := w.importRows(ctx, w.maker, rows, stranger.Public()); err == nil {
		return errors.New("a shipment for somebody else was taken")
	}
	forger, err := shipment.NewMakerKey(w.cfg.Rand, maker)
	if err != nil {
		return err
	}
	status, err := w.api.Status(ctx)
	if err != nil {
		return err
	}
	if _, err := w.importRows(ctx, forger, rows, status.VaultRecipient); err == nil {
		return errors.New("a shipment that somebody else has signed was taken")
	}
	w.report.RowsRefused += 3
	return w.refusedRows(ctx, rows)
}

// refusedRows imports rows that have to be refused, each of them.
func (w *world) refusedRows(ctx context.Context, rows []shipment.Meter) error {
	status, err := w.api.Status(ctx)
	if err != nil {
		return err
	}
	r, err := w.importRows(ctx, w.maker, rows, status.VaultRecipient)
	if err != nil || r.Refused != len(rows) {
		return errors.Join(err, fmt.Errorf("want %d rows refused: %s", len(rows), r))
	}
	w.report.RowsRefused += r.Refused
	return nil
}

func (w *world) importRows(ctx context.Context, by shipment.MakerKey, rows []shipment.Meter, to transport.Public) (*shipment.Report, error) {
	var b bytes.Buffer
	if err := shipment.Write(&b, w.cfg.Rand, by, "bad", rows, to); err != nil {
		return nil, err
	}
	return w.factory.ImportShipment(ctx, &b)
}
