package cosem

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/meterseal/meterseal/dlms"
)

// ControlMode is control_mode of a Disconnect control (BB 4.5.8): which transitions the meter knows.
//
//	mode   disconnection                       reconnection
//	0      none: always connected
//	1      remote (b, c) manual (f) local (g)  remote (d) manual (e)
//	2      remote (b, c) manual (f) local (g)  remote (a) manual (e)
//	3      remote (b, c) -          local (g)  remote (d) manual (e)
//	4      remote (b, c) -          local (g)  remote (a) manual (e)
//	5      remote (b, c) manual (f) local (g)  remote (d) manual (e) local (h)
//	6      remote (b, c) -          local (g)  remote (d) manual (e) local (h)
type ControlMode uint8

// controlModes are the transitions of each mode, by the letters of the standard.
var controlModes = [...]string{"", "bcfgde", "bcfgae", "bcgde", "bcgae", "bcfgdeh", "bcgdeh"}

// Trigger is what asks a Disconnect control to move (BB 4.5.8).
type Trigger uint8

// Triggers: a client, a person at the meter, a function of the meter such as a limiter.
const (
	RemoteDisconnect Trigger = iota
	RemoteReconnect
	ManualDisconnect
	ManualReconnect
	LocalDisconnect
	LocalReconnect
)

// String returns "remote-disconnect" and the like.
func (t Trigger) String() string {
	names := [...]string{
		"remote-disconnect", "remote-reconnect", "manual-disconnect", "manual-reconnect", "local-disconnect",
		"local-reconnect",
	}
	if int(t) < len(names) {
		return names[t]
	}
	return "trigger " + strconv.Itoa(int(t))
}

// transition is an arrow of the state diagram.
type transition struct {
	letter   byte
	on       Trigger
	from, to ControlState
}

// transitions are the arrows of the state diagram.
var transitions = [...]transition{
	{'a', RemoteReconnect, Disconnected, Connected},
	{'b', RemoteDisconnect, Connected, Disconnected},
	{'c', RemoteDisconnect, ReadyForReconnection, Disconnected},
	{'d', RemoteReconnect, Disconnected, ReadyForReconnection},
	{'e', ManualReconnect, ReadyForReconnection, Connected},
	{'f', ManualDisconnect, Connected, ReadyForReconnection},
	{'g', LocalDisconnect, Connected, ReadyForReconnection},
	{'h', LocalReconnect, ReadyForReconnection, Connected},
}

// Valid reports whether the standard has the mode.
func (m ControlMode) Valid() bool { return int(m) < len(controlModes) }

// Next returns where a trigger leads. ok is false where the mode has no such transition.
func (m ControlMode) Next(from ControlState, on Trigger) (to ControlState, ok bool) {
	if !m.Valid() {
		return from, false
	}
	for _, t := range transitions {
		if t.on == on && t.from == from && strings.IndexByte(controlModes[m], t.letter) >= 0 {
			return t.to, true
		}
	}
	return from, false
}

// there reports whether a trigger has nothing left to do: what it asks for is so already. A command may be repeated
// when its answer was lost.
func (m ControlMode) there(s ControlState, on Trigger) bool {
	switch on {
	case RemoteDisconnect:
		return s == Disconnected
	case RemoteReconnect:
		// Where the command arms only, an armed switch is all that it asks for.
		armed, _ := m.Next(Disconnected, on)
		return s == Connected || armed == ReadyForReconnection && s == armed
	case ManualDisconnect, LocalDisconnect:
		return s != Connected
	}
	return s == Connected
}

// ErrNoTransition is returned by [Breaker.Do] where the mode has no transition for the trigger.
var ErrNoTransition = errors.New("disconnect control: no such transition in this mode")

// BreakerConfig describes a Breaker.
type BreakerConfig struct {
	// Mode is control_mode, which transitions there are.
	Mode ControlMode
	// State is where the switch stands to begin with.
	State ControlState
	// Drive moves the switch, and keeps the state where it survives a power cut. It is called under the lock of the
	// Breaker; when it fails, the state stays. nil drives nothing.
	Drive func(to ControlState, on Trigger) error
	// SaveMode keeps a changed mode; nil keeps nothing.
	SaveMode func(m ControlMode) error
}

// Breaker is the state machine of a Disconnect control. It is safe for concurrent use.
type Breaker struct {
	mu  sync.Mutex
	cfg BreakerConfig
}

// NewBreaker checks the mode and the state: in mode 0 the supply is always connected.
func NewBreaker(cfg BreakerConfig) (*Breaker, error) {
	if !cfg.Mode.Valid() || cfg.State > ReadyForReconnection {
		return nil, fmt.Errorf("disconnect control: %w: mode %d, state %d", ErrValue, cfg.Mode, cfg.State)
	}
	if cfg.Mode == 0 && cfg.State != Connected {
		return nil, fmt.Errorf("disconnect control: %w: mode 0 is always connected", ErrValue)
	}
	return &Breaker{cfg: cfg}, nil
}

// State returns the state; the output is on in Connected alone.
func (b *Breaker) State() ControlState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg.State
}

// Mode returns the mode.
func (b *Breaker) Mode() ControlMode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg.Mode
}

// Do follows a trigger. A trigger whose end is reached already does nothing and is no error.
func (b *Breaker) Do(on Trigger) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	to, ok := b.cfg.Mode.Next(b.cfg.State, on)
	if !ok {
		if b.cfg.Mode.there(b.cfg.State, on) {
			return nil
		}
		return fmt.Errorf("%w: mode %d, %s, %s", ErrNoTransition, b.cfg.Mode, b.cfg.State, on)
	}
	if b.cfg.Drive != nil {
		if err := b.cfg.Drive(to, on); err != nil {
			return err
		}
	}
	b.cfg.State = to
	return nil
}

// SetMode changes the mode. Mode 0 is refused unless the supply is connected: writing an attribute never switches the
// supply on.
func (b *Breaker) SetMode(m ControlMode) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !m.Valid() || m == 0 && b.cfg.State != Connected {
		return fmt.Errorf("disconnect control: %w: mode %d in state %s", ErrValue, m, b.cfg.State)
	}
	if b.cfg.SaveMode != nil {
		if err := b.cfg.SaveMode(m); err != nil {
			return err
		}
	}
	b.cfg.Mode = m
	return nil
}

// NewBreakerControl returns a Disconnect control over the Breaker of the device in env.
func NewBreakerControl(instance dlms.OBIS, of func(env *Env) (*Breaker, error)) Object {
	do := func(on Trigger) func(*Env) error {
		return func(env *Env) error {
			b, err := of(env)
			if err != nil {
				return err
			}
			err = b.Do(on)
			if errors.Is(err, ErrNoTransition) {
				return dlms.ActionScopeViolated
			}
			return err
		}
	}
	return NewDisconnectControl(DisconnectConfig{
		Instance: instance,
		State: func(env *Env) (bool, ControlState, error) {
			b, err := of(env)
			if err != nil {
				return false, 0, err
			}
			s := b.State()
			return s == Connected, s, nil
		},
		Disconnect: do(RemoteDisconnect), Reconnect: do(RemoteReconnect),
		ModeOf: func(env *Env) (ControlMode, error) {
			b, err := of(env)
			if err != nil {
				return 0, err
			}
			return b.Mode(), nil
		},
		SetMode: func(env *Env, m ControlMode) error {
			b, err := of(env)
			if err != nil {
				return err
			}
			err = b.SetMode(m)
			if errors.Is(err, ErrValue) {
				return dlms.DataAccessScopeViolated
			}
			return err
		},
	})
}
