package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/shipment"
)

func makerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "maker",
		Short:   "Be the maker of meters",
		Example: "  meterseal maker shipment --count 50 --to age1... --out shipment.age --factory-identity factory.key --factory-out meters.age",
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	c.AddCommand(shipmentCommand())
	return c
}

type shipmentFlags struct {
	maker, profile, batch    string
	count                    int
	first                    uint64
	to, out                  string
	factoryIdentity, factory string
	json                     bool
}

func shipmentCommand() *cobra.Command {
	var f shipmentFlags
	c := &cobra.Command{
		Use:   "shipment",
		Short: "Make meters: their first keys, sealed to the central system and to the factory",
		Long: `Draws the first keys of new meters and writes them twice: to --out, which only the central system can open
(its recipient is what 'meterseal central init' prints), and to --factory-out, from which 'meterseal meter' makes the
meters. The factory's secret is made in --factory-identity if it is not there. Nothing that exists is overwritten.`,
		Example: `  meterseal maker shipment --maker MSL --count 50 --first 1 --profile hardened --to age1... --out shipment.age \
    --factory-identity factory.key --factory-out meters.age`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	s := c.Flags()
	s.StringVar(&f.maker, "maker", "MSL", "the maker's three letters, with which system titles begin")
	s.IntVar(&f.count, "count", 1, "how many meters")
	s.Uint64Var(&f.first, "first", 1, "serial number of the first one")
	s.StringVar(&f.profile, "profile", shipment.ProfileHardened, "hardened or linky")
	s.StringVar(&f.batch, "batch", "", "name of the delivery (default MAKER-FIRST)")
	s.StringVar(&f.to, "to", "", "the central system's recipient, age1...")
	s.StringVar(&f.out, "out", "", "new file for the central system")
	s.StringVar(&f.factoryIdentity, "factory-identity", "", "file of the factory's secret, made if it is not there")
	s.StringVar(&f.factory, "factory-out", "", "new file for the factory")
	s.BoolVar(&f.json, "json", false, "print JSON")
	return c
}

func (f *shipmentFlags) run(c *cobra.Command) error {
	if err := need(c, "to", "out", "factory-identity", "factory-out"); err != nil {
		return err
	}
	if f.count < 1 || f.count > shipment.MaxCount {
		return usage(c, "--count: want 1 to %d, got %d", shipment.MaxCount, f.count)
	}
	if f.profile != shipment.ProfileHardened && f.profile != shipment.ProfileLinky {
		return usage(c, "--profile: want hardened or linky, got %q", f.profile)
	}
	central, err := age.ParseX25519Recipient(f.to)
	if err != nil {
		return usage(c, "--to: want the recipient that 'meterseal central init' prints, age1...: %w", err)
	}
	for _, path := range []string{f.out, f.factory} {
		if _, err := os.Lstat(path); err == nil {
			return withHint(fmt.Errorf("%s: %w", path, fs.ErrExist), "keys that left the maker are not made again: choose another name")
		}
	}
	if f.batch == "" {
		f.batch = fmt.Sprintf("%s-%06d", f.maker, f.first)
	}
	meters, err := shipment.Generate(rand.Reader, f.maker, f.count, f.profile, f.first)
	if err != nil {
		return err
	}
	factory, err := factoryRecipient(f.factoryIdentity)
	if err != nil {
		return err
	}
	if err := f.writeBoth(meters, central, factory); err != nil {
		return err
	}
	if f.json {
		return printJSON(c, map[string]any{"batch": f.batch, "count": f.count, "first": meters[0].Title, "last": meters[len(meters)-1].Title})
	}
	return printf(c, "%d meters, %s to %s: %s for the central system, %s for the factory\n",
		f.count, meters[0].Title, meters[len(meters)-1].Title, f.out, f.factory)
}

// writeBoth writes both files or none: meters that only one side knows serve nobody.
func (f *shipmentFlags) writeBoth(meters []shipment.Meter, central, factory age.Recipient) error {
	if err := writeShipment(f.out, f.maker, f.batch, meters, central); err != nil {
		return err
	}
	if err := writeShipment(f.factory, f.maker, f.batch, meters, factory); err != nil {
		return errors.Join(err, os.Remove(f.out))
	}
	return nil
}

func writeShipment(path, maker, batch string, meters []shipment.Meter, to age.Recipient) error {
	return writeNew(path, func(w *os.File) error { return shipment.Write(w, maker, batch, meters, to) })
}

// writeNew writes a new file for the owner alone, and leaves none behind when it fails.
func writeNew(path string, write func(*os.File) error) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = write(w)
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// factoryRecipient reads the factory's secret, or makes it.
func factoryRecipient(path string) (age.Recipient, error) {
	text, err := config.Secret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newFactory(path)
	}
	if err != nil {
		return nil, fmt.Errorf("factory identity: %w", err)
	}
	defer clear(text)
	ids, err := age.ParseIdentities(strings.NewReader(string(text)))
	if err != nil || len(ids) != 1 {
		return nil, fmt.Errorf("factory identity %s: want one line that begins with AGE-SECRET-KEY-1", path) // never what it holds
	}
	id, ok := ids[0].(*age.X25519Identity)
	if !ok {
		return nil, fmt.Errorf("factory identity %s: want an X25519 identity", path)
	}
	return id.Recipient(), nil
}

func newFactory(path string) (age.Recipient, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("factory identity: %w", err)
	}
	err = writeNew(path, func(w *os.File) error {
		_, err := fmt.Fprintf(w, "# the factory of simulated meters: whoever has this file can read their first keys\n%s\n", id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("factory identity: %w", err)
	}
	return id.Recipient(), nil
}
