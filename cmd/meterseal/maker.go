package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

func makerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "maker",
		Short:   "Be the maker of meters",
		Example: "  meterseal maker shipment --count 50 --to vault.pub --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age",
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
	to, out, key             string
	factoryIdentity, factory string
	json                     bool
}

func shipmentCommand() *cobra.Command {
	var f shipmentFlags
	c := &cobra.Command{
		Use:   "shipment",
		Short: "Make meters: their first keys, sealed to the central system and to the factory",
		Long: `Draws the first keys of new meters and writes them twice: to --out, signed by the maker, which only the central system of
--to can open (docs/shipment.md has its form), and to --factory-out, from which 'meterseal meter' makes the meters.

The maker's secret key is made in --key if it is not there, and its public half beside it, as KEY.pub: the central system
takes shipments once 'meterseal central maker add' has registered that. The factory's secret is made in --factory-identity if
it is not there. Nothing that exists is overwritten.`,
		Example: `  meterseal maker shipment --maker MSL --count 50 --first 1 --profile hardened --to vault.pub --out shipment.jsonl \
    --key maker.key --factory-identity factory.key --factory-out meters.age`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	s := c.Flags()
	s.StringVar(&f.maker, "maker", "MSL", "the maker's three letters, with which system titles begin")
	s.IntVar(&f.count, "count", 1, "how many meters")
	s.Uint64Var(&f.first, "first", 1, "serial number of the first one")
	s.StringVar(&f.profile, "profile", shipment.ProfileHardened, "hardened or linky")
	s.StringVar(&f.batch, "batch", "", "name of the delivery (default MAKER-FIRST)")
	s.StringVar(&f.to, "to", "", "the central system's transport key: its file vault.pub, or the text of it")
	s.StringVar(&f.out, "out", "", "new file for the central system")
	s.StringVar(&f.key, "key", "", "file of the key that the maker signs with, made if it is not there")
	s.StringVar(&f.factoryIdentity, "factory-identity", "", "file of the factory's secret, made if it is not there")
	s.StringVar(&f.factory, "factory-out", "", "new file for the factory")
	s.BoolVar(&f.json, "json", false, "print JSON")
	return c
}

func (f *shipmentFlags) run(c *cobra.Command) error {
	if err := need(c, "to", "out", "key", "factory-identity", "factory-out"); err != nil {
		return err
	}
	if f.count < 1 || f.count > shipment.MaxCount {
		return usage(c, "--count: want 1 to %d, got %d", shipment.MaxCount, f.count)
	}
	if f.profile != shipment.ProfileHardened && f.profile != shipment.ProfileLinky {
		return usage(c, "--profile: want hardened or linky, got %q", f.profile)
	}
	central, err := recipientOf(c, "--to", f.to)
	if err != nil {
		return err
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
	signer, err := makerKey(f.key, f.maker)
	if err != nil {
		return err
	}
	factory, err := factoryRecipient(f.factoryIdentity)
	if err != nil {
		return err
	}
	if err := f.writeBoth(meters, signer, central, factory); err != nil {
		return err
	}
	fingerprint := signer.Public().Fingerprint()
	if f.json {
		return printJSON(c, map[string]any{
			"batch": f.batch, "count": f.count, "first": meters[0].Title, "last": meters[len(meters)-1].Title, "signer": fingerprint,
		})
	}
	return printf(c, "%d meters, %s to %s: %s for the central system, %s for the factory\nsigned with %s (%s)\n",
		f.count, meters[0].Title, meters[len(meters)-1].Title, f.out, f.factory, fingerprint, f.key+publicSuffix)
}

// publicSuffix is added to the name of a maker's key for the file of its public half.
const publicSuffix = ".pub"

// makerKey reads the maker's key, or makes it.
func makerKey(path, maker string) (shipment.MakerKey, error) {
	k, err := shipment.LoadMakerKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if k, err = shipment.NewMakerKey(rand.Reader, maker); err == nil {
			err = k.Save(path)
		}
		if err != nil {
			return k, err
		}
		return k, writeNew(path+publicSuffix, func(w *os.File) error {
			_, err := fmt.Fprintln(w, k.Public())
			return err
		})
	}
	if err == nil && k.Public().Maker() != maker {
		err = fmt.Errorf("%s is the key of maker %s, want %s", path, k.Public().Maker(), maker)
	}
	return k, err
}

// recipientOf reads a transport key, or the file of one.
func recipientOf(c *cobra.Command, name, value string) (to transport.Public, err error) {
	text := value
	if !strings.HasPrefix(value, "meterseal-rsa1:") {
		b, err := readSmall(value)
		if err != nil {
			return to, usage(c, "%s: want the file vault.pub that 'meterseal central init' writes, or the text of it: %w", name, err)
		}
		text = string(b)
	}
	if to, err = transport.ParsePublic(text); err != nil {
		return to, usage(c, "%s: %w", name, err)
	}
	return to, nil
}

// readSmall reads a file that has a line.
func readSmall(path string) (b []byte, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, 4<<10))
}

// writeBoth writes both files or none: meters that only one side knows serve nobody.
func (f *shipmentFlags) writeBoth(meters []shipment.Meter, by shipment.MakerKey, central transport.Public, factory age.Recipient) error {
	err := writeNew(f.out, func(w *os.File) error { return shipment.Write(w, rand.Reader, by, f.batch, meters, central) })
	if err != nil {
		return err
	}
	err = writeNew(f.factory, func(w *os.File) error { return shipment.WriteFactory(w, f.maker, meters, factory) })
	if err != nil {
		return errors.Join(err, os.Remove(f.out))
	}
	return nil
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
