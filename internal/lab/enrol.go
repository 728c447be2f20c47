package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"filippo.io/age"

	"github.com/meterseal/meterseal/internal/shipment"
)

func (w *world) enrol(ctx context.Context) (string, error) {
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

// badShipments imports a file cut short, one for somebody else, and known titles with other keys.
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
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	if _, err := w.importRows(ctx, rows, stranger.Recipient()); err == nil {
		return errors.New("a shipment for somebody else was taken")
	}
	w.report.RowsRefused++
	return w.refusedRows(ctx, rows)
}

// refusedRows imports rows that have to be refused, each of them.
func (w *world) refusedRows(ctx context.Context, rows []shipment.Meter) error {
	status, err := w.api.Status(ctx)
	if err != nil {
		return err
	}
	is, err := age.ParseX25519Recipient(status.VaultRecipient)
	if err != nil {
		return err
	}
	r, err := w.importRows(ctx, rows, is)
	if err != nil || r.Refused != len(rows) {
		return errors.Join(err, fmt.Errorf("want %d rows refused: %s", len(rows), r))
	}
	w.report.RowsRefused += r.Refused
	return nil
}

func (w *world) importRows(ctx context.Context, rows []shipment.Meter, to age.Recipient) (*shipment.Report, error) {
	var b bytes.Buffer
	if err := shipment.Write(&b, maker, "bad", rows, to); err != nil {
		return nil, err
	}
	return w.factory.ImportShipment(ctx, &b)
}
