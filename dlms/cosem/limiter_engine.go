package cosem

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// maxGroups bounds the emergency profile groups of a limiter, ours.
const maxGroups = 64

// Validate checks that the thresholds are numbers, and bounds the groups.
func (s LimiterSetup) Validate() error {
	for _, d := range []dlms.Data{s.Normal, s.Emergency} {
		if f, err := d.Float(); err != nil || math.IsNaN(f) {
			return fmt.Errorf("limiter: %w: threshold: want a number, got %s", ErrValue, d)
		}
	}
	return outside("emergency profile groups", len(s.Groups), 0, maxGroups)
}

// LimiterEngineConfig describes a LimiterEngine.
type LimiterEngineConfig struct {
	// Setup is what the limiter begins with, as it was saved.
	Setup LimiterSetup
	// Local is the zone in which an activation time without deviation is read; nil is UTC.
	Local *time.Location
	// Act runs a script: Over once the value was over the threshold for long enough, Under once it no longer is. It
	// is called without a lock, in the call that observed the value; nil does nothing.
	Act func(script ScriptRef, over bool)
	// Save keeps a changed setup; nil keeps nothing.
	Save func(s LimiterSetup) error
}

// LimiterEngine watches a value (BB 4.5.9) on the clock of the caller: whoever measures calls Observe often enough for the
// durations, say every second. It is safe for concurrent use.
type LimiterEngine struct {
	mu  sync.Mutex
	cfg LimiterEngineConfig
	// over is what the last action said; since is when the value began to say otherwise, zero while it does not.
	over  bool
	since time.Time
}

// NewLimiterEngine checks the setup. It begins under the threshold: the first action can only be Over.
func NewLimiterEngine(cfg LimiterEngineConfig) (*LimiterEngine, error) {
	if err := cfg.Setup.Validate(); err != nil {
		return nil, err
	}
	if cfg.Local == nil {
		cfg.Local = time.UTC
	}
	return &LimiterEngine{cfg: cfg}, nil
}

// Setup returns the setup with the threshold in force at now.
func (l *LimiterEngine) Setup(now time.Time) LimiterSetup {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.cfg.Setup
	s.Groups = slices.Clone(s.Groups)
	s.Active, s.EmergencyActive = l.threshold(now)
	return s
}

// Configure changes the setup; Active and EmergencyActive of it are not looked at.
func (l *LimiterEngine) Configure(s LimiterSetup) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s.Groups = slices.Clone(s.Groups)
	s.Active, s.EmergencyActive = dlms.Null(), false
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Save != nil {
		if err := l.cfg.Save(s); err != nil {
			return err
		}
	}
	l.cfg.Setup = s
	return nil
}

// Over reports what the last action said.
func (l *LimiterEngine) Over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// Observe takes the watched value at now, and acts where it has been on the other side of the threshold for long
// enough. It fails for a value that is no number, and does then nothing.
func (l *LimiterEngine) Observe(now time.Time, value dlms.Data) error {
	act, err := l.observe(now, value)
	if act != nil {
		act()
	}
	return err
}

func (l *LimiterEngine) observe(now time.Time, value dlms.Data) (act func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	threshold, _ := l.threshold(now)
	side, err := compareNumbers(value, threshold)
	if err != nil {
		return nil, err
	}
	over := side > 0
	s := l.cfg.Setup
	if over == l.over {
		l.since = time.Time{}
		return nil, nil
	}
	if l.since.IsZero() || l.since.After(now) { // a clock that was set back begins anew
		l.since = now
	}
	wait, script := s.MinOver, s.Actions.Over
	if !over {
		wait, script = s.MinUnder, s.Actions.Under
	}
	if now.Sub(l.since) < time.Duration(wait)*time.Second {
		return nil, nil
	}
	l.over, l.since = over, time.Time{}
	if l.cfg.Act == nil {
		return nil, nil
	}
	return func() { l.cfg.Act(script, over) }, nil
}

func (l *LimiterEngine) threshold(now time.Time) (dlms.Data, bool) {
	s := &l.cfg.Setup
	if s.Profile.activeAt(now, s.Groups, l.cfg.Local) {
		return s.Emergency, true
	}
	return s.Normal, false
}
