package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"filippo.io/age"

	"github.com/meterseal/meterseal/internal/shipment"
)

// manufacture plays the maker, once: the shipment for the IS, and the same rows for the meters' own memories.
func (w *world) manufacture() error {
	dir := w.path("maker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	ship, factory, identity := w.path("maker", "shipment.jsonl"), w.path("maker", "meters.age"), w.path("maker", "factory.key")
	if err := w.makerKey(); err != nil {
		return err
	}
	if _, err := os.Stat(ship); errors.Is(err, fs.ErrNotExist) {
		if err := w.make(ship, factory, identity); err != nil {
			return err
		}
	}
	var err error
	if w.rows, err = shipment.ReadFactory(factory, identity); err != nil {
		return err
	}
	w.shipment, err = os.ReadFile(ship)
	return err
}

func (w *world) make(ship, factory, identity string) error {
	status, err := w.api.Status(w.ctx)
	if err != nil {
		return err
	}
	own, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	rows, err := shipment.Generate(w.cfg.Rand, maker, w.cfg.Meters, w.cfg.Profile, 1)
	if err != nil {
		return err
	}
	// The shipment comes last: where it is, the others are too.
	return errors.Join(
		replace(identity, []byte(own.String()+"\n")),
		written(factory, func(b *bytes.Buffer) error { return shipment.WriteFactory(b, maker, rows, own.Recipient()) }),
		written(ship, func(b *bytes.Buffer) error {
			return shipment.Write(b, w.cfg.Rand, w.maker, "lab", rows, status.VaultRecipient)
		}),
	)
}

// makerKey makes the key that the maker signs with, once.
func (w *world) makerKey() (err error) {
	path := w.path("maker", "maker.key")
	w.maker, err = shipment.LoadMakerKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if w.maker, err = shipment.NewMakerKey(w.cfg.Rand, maker); err != nil {
		return err
	}
	return w.maker.Save(path)
}

func written(path string, write func(*bytes.Buffer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return replace(path, b.Bytes())
}

func replace(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return os.Rename(path+".new", path)
}
