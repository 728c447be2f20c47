package concentrator

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
)

// Names in a concentrator's data directory.
const (
	IdentityFile = "identity.json"
	keysDir      = "keys"
	spoolDir     = "spool"
	logFile      = "key.log"
	ackedFile    = "key.log.acked"
	epochFile    = "epoch"
	escrowFile   = "escrow"
	triesFile    = "tries"
)

const maxAddresses = 4096

// Config is a concentrator's configuration file.
type Config struct {
	// Data is its data directory, which Init has made: identity, keyring, spool, log.
	Data string `yaml:"data"`
	// Identity is the identity file; in the data directory when empty.
	Identity string `yaml:"identity"`
	// ISURL is where the bus of the IS is (tls://HOST:PORT), ISCA a copy of its certificate (ca.pem).
	ISURL string `yaml:"is_url"`
	ISCA  string `yaml:"is_ca"`
	// LAN are the addresses on which meters are looked for: HOST:PORT or HOST:FIRST-LAST.
	LAN []string `yaml:"lan"`
	// Timeout bounds one exchange with a meter, default 10s; DialTimeout a connection to one, default 3s.
	Timeout     time.Duration `yaml:"timeout"`
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// Rediscover is how often addresses where no meter was found are tried again, default 1m.
	Rediscover time.Duration `yaml:"rediscover"`
	// Parallel is how many meters are worked on at once, default 8.
	Parallel int `yaml:"parallel"`
	// OwnMakers are the makers whose meters never lock out, "MSL" by default: the first three letters of a system title. A
	// meter of any other maker may: of the associations with it that do not open, TriesPerHour are tried within an hour, 2
	// by default.
	OwnMakers    []string `yaml:"own_makers"`
	TriesPerHour int      `yaml:"tries_per_hour"`
	// UTCOffset is what the meters' clocks show, less UTC: 1h by default. It says when a day begins.
	UTCOffset *time.Duration `yaml:"utc_offset"`
	// ClockOffset is added to the machine's clock, for a system that runs in another time. Whoever makes Deps.Now
	// adds it.
	ClockOffset time.Duration `yaml:"clock_offset"`
}

// Deps are what a concentrator is given instead of taking it.
type Deps struct {
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger // nil discards
	// WrapAEAD lets a nonce oracle watch long-term and session keys. May be nil.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	// WAN is the way to the IS. nil connects as the configuration says.
	WAN WAN
	// Lines are the local network. nil makes them of the addresses in the configuration.
	Lines []Line
}

// WAN is the way to the IS; *bus.Concentrator is one.
type WAN interface {
	// HandleOrder calls h with each order of the IS, until Close.
	HandleOrder(h func(ctx context.Context, o bus.Order) bus.Reply) error
	// SendUp tells the IS something and waits until it has taken it.
	SendUp(ctx context.Context, u bus.Up) (bus.Ack, error)
	// Up reports whether the IS can be told something now.
	Up() bool
	// Close ends it, after the orders under way.
	Close()
}

var _ WAN = (*bus.Concentrator)(nil)

// Validate checks the file and fills in its defaults.
func (c *Config) Validate() error {
	switch {
	case c.Data == "":
		return errors.New("concentrator: config: want data, the data directory")
	case c.ISURL == "" || c.ISCA == "":
		return errors.New("concentrator: config: want is_url and is_ca: where the central system is, and its certificate")
	case c.Timeout < 0 || c.DialTimeout < 0 || c.Rediscover < 0 || c.Parallel < 0 || c.TriesPerHour < 0:
		return errors.New("concentrator: config: want no negative number")
	}
	if _, err := addresses(c.LAN); err != nil {
		return err
	}
	c.defaults()
	if *c.UTCOffset < -14*time.Hour || *c.UTCOffset > 14*time.Hour || *c.UTCOffset%time.Minute != 0 {
		return fmt.Errorf("concentrator: config: utc_offset: want whole minutes from -14h to 14h, got %s", *c.UTCOffset)
	}
	return nil
}

func (c *Config) defaults() {
	if c.Identity == "" {
		c.Identity = filepath.Join(c.Data, IdentityFile)
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 3 * time.Second
	}
	if c.Rediscover == 0 {
		c.Rediscover = time.Minute
	}
	if c.Parallel == 0 {
		c.Parallel = 8
	}
	if c.OwnMakers == nil {
		c.OwnMakers = []string{"MSL"}
	}
	if c.TriesPerHour == 0 {
		c.TriesPerHour = 2
	}
	if c.UTCOffset == nil {
		hour := time.Hour
		c.UTCOffset = &hour
	}
}

func (c *Config) zone() *time.Location {
	return time.FixedZone("meters", int(*c.UTCOffset/time.Second))
}

// addresses writes ranges of ports out.
func addresses(lan []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, a := range lan {
		list, err := portsOf(a)
		if err != nil {
			return nil, fmt.Errorf("concentrator: config: lan: %w", err)
		}
		for _, one := range list {
			if !seen[one] {
				seen[one] = true
				out = append(out, one)
			}
		}
		if len(out) > maxAddresses {
			return nil, fmt.Errorf("concentrator: config: lan: want at most %d addresses", maxAddresses)
		}
	}
	return out, nil
}

func portsOf(address string) ([]string, error) {
	host, ports, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return nil, fmt.Errorf("want HOST:PORT or HOST:FIRST-LAST, got %q", address)
	}
	first, last, isRange := strings.Cut(ports, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || to < from {
		return nil, fmt.Errorf("ports of %q: want 1 to 65535, FIRST not above LAST", address)
	}
	if to-from >= maxAddresses {
		return nil, fmt.Errorf("want at most %d addresses, got %q", maxAddresses, address)
	}
	var out []string
	for p := from; p <= to; p++ {
		out = append(out, net.JoinHostPort(host, strconv.FormatUint(p, 10)))
	}
	return out, nil
}
