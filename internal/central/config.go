// Package central is the central system (IS): it wires vault, store, bus, rotation and collection together and is what
// the API works.
package central

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// GCPercent is how far a process of the central system lets its heap grow over what is in use before it collects, where
// the environment does not say otherwise with GOGC. What is in use is little, as the rows are in the database; a key change
// leaves much behind that is soon forgotten, and at Go's own 100 a fifth of the processor goes into looking for it.
const GCPercent = 400

// Config is the configuration file of the IS.
type Config struct {
	// Data is the data directory: database, root of the vault, certificates, socket.
	Data string `yaml:"data"`
	// Store is where the rows are: a PostgreSQL database that several nodes may share, postgres://user@host:port/database,
	// whose password is in the file that PGPASSFILE names or in PGPASSWORD, never here. SQLite in Data when empty. Data
	// itself is each node's own; its root is the same in all of them.
	Store string `yaml:"store"`
	// LeaseTTL is how long a node that has died keeps others from its concentrators: 30s by default.
	LeaseTTL time.Duration `yaml:"lease_ttl"`
	// Journal is the key journal, best on another disk; in the data directory when empty.
	Journal string `yaml:"journal"`
	// PassphraseFile holds the passphrase that seals the root. Without one the root file is in clear, 0600.
	PassphraseFile string `yaml:"passphrase_file"`
	// Vault is the token that the vault's keys are in, as RFC 7512 names it: pkcs11:token=LABEL?module-path=MODULE&pin-source=FILE.
	// In software when empty. Without pin-source the PIN is that of METERSEAL_PIN, or is asked for.
	Vault string `yaml:"vault"`
	// SystemTitle is this IS node's own, 16 hexadecimal digits.
	SystemTitle string `yaml:"system_title"`
	// Listen is where the bus listens for concentrators, "127.0.0.1:4222" by default; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// APIListen is a TCP address where the API answers beside the socket in Data, as "0.0.0.0:4280"; nowhere when empty.
	APIListen string `yaml:"api_listen"`
	// Quotas are how much of a class of operations may be done without a second person: breaker, image, keys.
	Quotas map[access.Class]access.Quota `yaml:"quotas"`
	// Hosts are further names and addresses that concentrators reach the bus under, for its certificate.
	Hosts []string `yaml:"hosts"`
	// ClockOffset is added to the machine's clock, for a system that runs in another time.
	ClockOffset time.Duration `yaml:"clock_offset"`
	// UTCOffset is what meters' clocks show, less UTC: 1h by default. The last day of a grant ends at midnight by it; meters
	// whose clocks show another time end it by theirs.
	UTCOffset *time.Duration `yaml:"utc_offset"`
	// LongestGrant is how long a grant may be at most: 744h, which is 31 days, by default.
	LongestGrant time.Duration `yaml:"longest_grant"`
	// RetryMin and RetryMax bound the time between two tries of a key change: 2s and 10m by default.
	RetryMin time.Duration `yaml:"retry_min"`
	RetryMax time.Duration `yaml:"retry_max"`
	// OwnMakers are the makers whose meters never lock out, "MSL" by default. A meter of any other maker may: of its
	// associations that do not open, TriesPerHour are tried within an hour, 2 by default.
	OwnMakers    []string `yaml:"own_makers"`
	TriesPerHour int      `yaml:"tries_per_hour"`
}

// Deps are what the IS is given instead of taking it.
type Deps struct {
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger
	// PIN asks for the PIN of a token, where neither a file nor the environment has it. May be nil.
	PIN func() (string, error)
	// Tool is the program and its version, for the transcript of a vault that is made.
	Tool string
	// WrapAEAD lets a nonce oracle watch session keys. May be nil.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	// WAN is the way to the concentrators. nil opens a bus of its own, as the configuration says.
	WAN WAN
	// Store is one that several nodes in this process share, or one that the caller watches; it stays the caller's. nil
	// opens the one in the data directory.
	Store *store.Store
	// Serial does one thing at a time, so that a run can be repeated exactly.
	Serial bool
	// Block is how many counters the vault reserves at a time, 0 for its default.
	Block uint32
	// ReSeal is how many rows the vault seals anew with one commit, 0 for its default.
	ReSeal int
	// Crash and Without are for the simulation: see vault.Options.
	Crash   func(point string) error
	Without defence.Set
	// Transport is the key that Init has files sealed to, made if there is none. Tests bring one.
	Transport transport.Private
}

// WAN is the way to the concentrators; *bus.IS is one.
type WAN interface {
	// Order sends an order and waits for its answer.
	Order(ctx context.Context, concentrator dlms.SystemTitle, o bus.Order) (bus.Reply, error)
	// HandleUp calls h with what concentrators tell.
	HandleUp(h func(ctx context.Context, from dlms.SystemTitle, u bus.Up) error) error
	Stats() bus.Stats
	Close()
}

var _ WAN = (*bus.IS)(nil)

func (c *Config) complete() (own dlms.SystemTitle, err error) {
	if c.Data == "" {
		return own, errors.New("central: config: want data, the data directory")
	}
	if own, err = dlms.ParseSystemTitle(c.SystemTitle); err != nil {
		return own, fmt.Errorf("central: config: system_title: %w", err)
	}
	if c.Store != "" {
		if err := store.CheckURL(c.Store); err != nil {
			return own, fmt.Errorf("central: config: store: %w", err)
		}
	}
	for class, q := range c.Quotas {
		if !slices.Contains(access.Classes(), class) || q.Limit < 1 || q.Window <= 0 || q.Refusals < 1 || q.Burst < 0 || q.Burst > 0 && q.BurstWindow <= 0 {
			return own, fmt.Errorf("central: config: quotas: %s: want one of %v with a limit, a window and refusals above 0, and a burst_window where there is a burst", class, access.Classes())
		}
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:4222"
	}
	if c.OwnMakers == nil {
		c.OwnMakers = []string{"MSL"}
	}
	if c.TriesPerHour == 0 {
		c.TriesPerHour = 2
	}
	if c.TriesPerHour < 0 {
		return own, fmt.Errorf("central: config: tries_per_hour: want at least 1, got %d", c.TriesPerHour)
	}
	if c.UTCOffset == nil {
		hour := time.Hour
		c.UTCOffset = &hour
	}
	if o := *c.UTCOffset; o < -14*time.Hour || o > 14*time.Hour || o%time.Minute != 0 {
		return own, fmt.Errorf("central: config: utc_offset: want whole minutes from -14h to 14h, got %s", o)
	}
	if c.LongestGrant < 0 {
		return own, fmt.Errorf("central: config: longest_grant: want a time above 0, got %s", c.LongestGrant)
	}
	return own, nil
}

// zone is that of the meters' clocks.
func (c *Config) zone() *time.Location {
	if c.UTCOffset == nil {
		return role.MetersZone()
	}
	return time.FixedZone("meters", int(*c.UTCOffset/time.Second))
}

func (c *Config) passphrase() ([]byte, error) { return readPassphrase(c.PassphraseFile) }

// tlsDir is where the certificates of the bus are.
func (c *Config) tlsDir() string { return filepath.Join(c.Data, "tls") }

// CAFile is the certificate that concentrators know the bus by.
func (c *Config) CAFile() string { return filepath.Join(c.tlsDir(), bus.CAFile) }

// TransportFile is the name of the file with the vault's transport key, for makers and devices.
const TransportFile = "vault.pub"

// Init makes the vault's root, by the ceremony that asks for the least, and the certificates of the bus, once, and returns the
// key that files to the vault are sealed to. What is there is left as it is.
func Init(_ context.Context, c Config, d Deps) (to transport.Public, err error) {
	if _, err := c.complete(); err != nil {
		return to, err
	}
	pass, err := c.passphrase()
	if err != nil {
		return to, err
	}
	defer clear(pass)
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return to, fmt.Errorf("central: %w", err)
	}
	root, err := c.initVault(d)
	if errors.Is(err, vault.ErrExists) {
		root, err = c.unseal(c.Data, d)
	}
	if err != nil {
		return to, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := os.Stat(c.CAFile()); errors.Is(err, fs.ErrNotExist) {
		if err := bus.InitTLS(c.tlsDir(), d.Now(), d.Rand, c.Hosts...); err != nil {
			return to, err
		}
	}
	if !access.HasAuthority(c.tlsDir()) {
		if err := access.InitAuthority(c.tlsDir(), access.AuthorityOptions{Passphrase: pass, ScryptWork: vault.SealWork(c.Data), Now: d.Now(), Rand: d.Rand}); err != nil {
			return to, err
		}
	}
	to = root.Transport()
	return to, os.WriteFile(filepath.Join(c.Data, TransportFile), []byte(to.String()+"\n"), 0o600)
}
