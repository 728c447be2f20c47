// Package lab runs the whole system on one machine: an IS, concentrators, meters and terminals, each speaking to the
// others over loopback sockets with the protocol it would use in the field, and shows it do its main job.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/meterseal/meterseal/internal/meter/loadcurve"
)

// Config says what a lab runs.
type Config struct {
	Profile       string
	Meters        int
	Concentrators int
	// LoadCurve is a file to replay; empty takes the built-in household.
	LoadCurve string
	// Data keeps the state; empty takes a folder that is removed at the end.
	Data string
	// Vault is the token that the keys of the IS are in, as central.Config has it; in software when empty.
	Vault string
	// Stay keeps the system up after the steps, until ctx ends.
	Stay bool
	// Out gets the lines for people, Terminal says that it is one (progress bars).
	Out      io.Writer
	Terminal bool
	Log      *slog.Logger
	Now      func() time.Time
	Rand     io.Reader
}

// Bounds of a lab: the least with which every step has a meter of its own, and what one process holds comfortably.
const (
	MinMeters = 6
	MaxMeters = 500
)

// Report is what a lab has to tell, all integers but seconds.
type Report struct {
	Profile           string  `json:"profile"`
	Meters            int     `json:"meters"`
	Concentrators     int     `json:"concentrators"`
	Associated        int     `json:"associated"`
	LoadCurveValues   int     `json:"load_curve_values"`
	Rotated           Rotated `json:"rotated"`
	Refused           Refused `json:"refused"`
	RowsRefused       int     `json:"rows_refused"`
	BreakerOperations int     `json:"breaker_operations"`
	ClocksSet         int     `json:"clocks_set"`
	TerminalReads     int     `json:"terminal_reads"`
	Lost              int     `json:"lost"`
	NoncesRepeated    int     `json:"nonces_repeated"`
	LANBytes          uint64  `json:"lan_bytes"`
	WANBytes          uint64  `json:"wan_bytes"`
	LocalBytes        uint64  `json:"local_bytes"`
	Round             int     `json:"round"`
	Seconds           float64 `json:"seconds"`
}

// Rotated counts proven key changes by role.
type Rotated struct {
	CCLAN    int `json:"cc_lan"`
	CCLOCALE int `json:"cc_locale"`
	CCIS     int `json:"cc_is"`
}

// Refused counts tries that were refused.
type Refused struct {
	OldKey                     int `json:"old_key"`
	ReplayedAssociation        int `json:"replayed_association"`
	ReplayedAPDU               int `json:"replayed_apdu"`
	ReplayedKey                int `json:"replayed_key"`
	KeySideways                int `json:"key_sideways"`
	TrafficUnderAssociationKey int `json:"traffic_under_association_key"`
	KeyRead                    int `json:"key_read"`
	TerminalWithoutGrant       int `json:"terminal_without_grant"`
	TerminalExpired            int `json:"terminal_expired"`
	ConcentratorBreaker        int `json:"concentrator_breaker"`
}

// ErrFailed is returned when the lab ran and something did not hold.
var ErrFailed = errors.New("lab: not everything held")

func (c *Config) complete() error {
	switch {
	case c.Profile != "hardened" && c.Profile != "linky":
		return fmt.Errorf("lab: profile: want hardened or linky, got %q", c.Profile)
	case c.Meters < MinMeters || c.Meters > MaxMeters:
		return fmt.Errorf("lab: meters: want %d to %d, got %d", MinMeters, MaxMeters, c.Meters)
	case c.Concentrators < 1 || c.Concentrators > c.Meters:
		return fmt.Errorf("lab: concentrators: want 1 to %d, got %d", c.Meters, c.Concentrators)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// step is one act of the lab.
type step struct {
	name string
	do   func(ctx context.Context) (string, error)
}

// Run runs the lab. The report is valid as far as it goes also with an error.
func Run(ctx context.Context, cfg Config) (Report, error) {
	r := Report{Profile: cfg.Profile, Meters: cfg.Meters, Concentrators: cfg.Concentrators}
	if err := cfg.complete(); err != nil {
		return r, err
	}
	if cfg.Data == "" {
		dir, err := os.MkdirTemp("", "msl")
		if err != nil {
			return r, fmt.Errorf("lab: %w", err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder of the system's
		cfg.Data = dir
	}
	began := time.Now()
	w, err := open(ctx, cfg, &r)
	if err != nil {
		return r, err
	}
	err = w.show(ctx)
	r.Seconds = time.Since(began).Seconds()
	if err == nil {
		err = w.table()
	}
	if err == nil && cfg.Stay {
		w.stay(ctx)
	}
	return r, errors.Join(err, w.close())
}

// show takes the steps in order and tells each.
func (w *world) show(ctx context.Context) error {
	for i, s := range w.steps() {
		began := time.Now()
		w.printf("%d. %-10s ", i+1, s.name)
		told, err := s.do(ctx)
		took := time.Since(began)
		w.took = append(w.took, timed{s.name, took})
		if err != nil {
			w.printf("FAILED after %.1f s\n", took.Seconds())
			return fmt.Errorf("step %d, %s: %w", i+1, s.name, err)
		}
		w.printf("%s (%.1f s)\n", told, took.Seconds())
	}
	return w.finish()
}

type timed struct {
	name string
	took time.Duration
}

func (w *world) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(w.cfg.Out, format, args...) // lines for people: a closed pipe must not stop the work
}

// worldStart is the time of the lab's world at its first start: for a file the second day after its beginning, so that
// its first full day has been measured; else the machine's.
func worldStart(cfg Config) (start, installed time.Time, err error) {
	if cfg.LoadCurve == "" {
		now := cfg.Now()
		midnight := now.In(loadcurve.FileTime())
		y, m, d := midnight.AddDate(0, 0, -1).Date()
		return now, time.Date(y, m, d, 0, 0, 0, 0, loadcurve.FileTime()), nil
	}
	curve, err := loadcurve.ReadFile(cfg.LoadCurve)
	if err != nil {
		return start, installed, fmt.Errorf("lab: %w", err)
	}
	return curve.FirstFullDay().Add(24*time.Hour + 10*time.Minute), curve.FirstFullDay(), nil
}
