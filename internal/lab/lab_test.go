package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/meter/loadcurve"
)

func config(t *testing.T, profile string) Config {
	t.Helper()
	var out strings.Builder
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return Config{
		Profile: profile, Meters: MinMeters, Concentrators: 2, Log: slog.New(slog.DiscardHandler), Out: &out, Now: time.Now, Rand: rand.Reader,
	}
}

func check(t *testing.T, r Report) {
	t.Helper()
	f, meters := r.Refused, r.Meters
	least := map[string]int{
		"old_key": f.OldKey, "replayed_association": f.ReplayedAssociation, "replayed_apdu": f.ReplayedAPDU,
		"replayed_key": f.ReplayedKey, "key_sideways": f.KeySideways, "key_read": f.KeyRead,
		"traffic_under_association_key": f.TrafficUnderAssociationKey, "terminal_without_grant": f.TerminalWithoutGrant,
		"terminal_expired": f.TerminalExpired, "breaker_operations": r.BreakerOperations, "clocks_set": r.ClocksSet,
	}
	for name, n := range least {
		if n < 1 {
			t.Errorf("%s: want at least 1, got %d", name, n)
		}
	}
	if r.Associated != 2*meters || r.Lost != 0 || r.NoncesRepeated != 0 || r.LoadCurveValues < 48*(meters-1) {
		t.Errorf("report: %+v", r)
	}
	if r.Rotated.CCLAN != meters || r.Rotated.CCLOCALE != meters {
		t.Errorf("rotated: %+v", r.Rotated)
	}
}

func TestTheLabHoldsInProfileHardened(t *testing.T) {
	r, err := Run(t.Context(), config(t, "hardened"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.Rotated.CCIS != r.Meters || r.Refused.ConcentratorBreaker < 1 {
		t.Errorf("CC_IS: %d, breaker by the concentrator refused: %d", r.Rotated.CCIS, r.Refused.ConcentratorBreaker)
	}
}

func TestTheLabHoldsInProfileLinky(t *testing.T) {
	r, err := Run(t.Context(), config(t, "linky"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.Rotated.CCIS != 0 || r.Refused.ConcentratorBreaker != 0 {
		t.Errorf("linky has no CC_IS and does not refuse the concentrator: %+v", r)
	}
}

// stopAt lets a lab run until its output holds a text, then stops it, wherever it is.
type stopAt struct {
	io.Writer
	text string
	stop context.CancelFunc
}

func (s *stopAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.text) {
		time.AfterFunc(200*time.Millisecond, s.stop)
	}
	return s.Writer.Write(b)
}

func TestALabStoppedInTheMiddleOfARekeyGoesOn(t *testing.T) {
	cfg := config(t, "hardened")
	cfg.Data = filepath.Join(t.TempDir(), "lab")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := cfg
	first.Out = &stopAt{cfg.Out, "Re-key", stop}
	if _, err := Run(ctx, first); err != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.Round != 1 {
		t.Errorf("want the stopped round to go on, got round %d", r.Round)
	}
	if r, err = Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.Round != 2 {
		t.Errorf("want a second round, got %d", r.Round)
	}
}

func TestTheISHoldsTheEnergiesOfTheFile(t *testing.T) {
	const file = "../meter/loadcurve/testdata/household.csv.gz"
	cfg := config(t, "hardened")
	cfg.LoadCurve, cfg.Data = file, filepath.Join(t.TempDir(), "lab")
	r := Report{}
	w, err := open(t.Context(), cfg, &r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close() //nolint:errcheck // the test has its answer
	for _, s := range w.steps()[:4] {
		if _, err := s.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	day, err := w.api.Readings(t.Context(), w.rows[0].Title, w.memo.Day)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := loadcurve.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []int64
	for at := curve.FirstFullDay(); len(want) < 48; at = at.Add(loadcurve.DefaultStep) {
		wh, _ := curve.Interval(at, at.Add(loadcurve.DefaultStep))
		want = append(want, wh)
	}
	if !slices.Equal(day.Values, want) {
		t.Errorf("half hours of the first meter:\nwant %v\ngot  %v", want, day.Values)
	}
}

func TestADataDirectoryInUseAndOtherFlagsAreRefusedClearly(t *testing.T) {
	cfg := config(t, "hardened")
	cfg.Data = filepath.Join(t.TempDir(), "lab")
	r := Report{}
	w, err := open(t.Context(), cfg, &r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close() //nolint:errcheck // the test has its answer
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a directory in use: got %v", err)
	}
	cfg.Meters++
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "the same flags") {
		t.Errorf("other flags: got %v", err)
	}
}
