package cosem

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// ControlState is control_state of a Disconnect control (BB 4.5.8).
type ControlState uint8

// Control states.
const (
	Disconnected         ControlState = 0
	Connected            ControlState = 1
	ReadyForReconnection ControlState = 2
)

// String returns the word of BB.
func (s ControlState) String() string {
	switch s {
	case Disconnected:
		return "disconnected"
	case Connected:
		return "connected"
	case ReadyForReconnection:
		return "ready-for-reconnection"
	}
	return "unknown"
}

// DisconnectConfig describes a Disconnect control.
type DisconnectConfig struct {
	// Instance is the logical name, 0.0.96.3.10.255 as a rule.
	Instance dlms.OBIS
	// Mode is control_mode, 0 to 6: which transitions the meter knows.
	Mode ControlMode
	// ModeOf reads the mode of a device whose mode can be changed; nil is Mode. SetMode changes it; nil refuses.
	ModeOf  func(env *Env) (ControlMode, error)
	SetMode func(env *Env, m ControlMode) error
	// State reads output_state (is there current at the customer's side) and control_state.
	State func(env *Env) (output bool, state ControlState, err error)
	// Disconnect and Reconnect are the remote commands; nil refuses.
	Disconnect func(env *Env) error
	Reconnect  func(env *Env) error
}

type disconnect struct {
	base
	cfg DisconnectConfig
}

// NewDisconnectControl returns an object of class Disconnect control (BB 4.5.8, class 70 version 0).
func NewDisconnectControl(cfg DisconnectConfig) Object {
	return &disconnect{base{ID{Class: dlms.ClassDisconnectControl, Instance: cfg.Instance}}, cfg}
}

func (o *disconnect) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		output, _, err := o.state(env)
		return dlms.Bool(output), err
	case 3:
		_, s, err := o.state(env)
		return dlms.Enum(uint8(s)), err
	case 4:
		m, err := o.mode(env)
		return dlms.Enum(uint8(m)), err
	}
	return undefined()
}

func (o *disconnect) mode(env *Env) (ControlMode, error) {
	if o.cfg.ModeOf == nil {
		return o.cfg.Mode, nil
	}
	return o.cfg.ModeOf(env)
}

func (o *disconnect) Set(env *Env, attribute int8, value dlms.Data) error {
	if attribute != 4 || o.cfg.SetMode == nil {
		return dlms.DataAccessReadWriteDenied
	}
	m, err := parseEnum[ControlMode](value)
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	if !m.Valid() {
		return dlms.DataAccessScopeViolated
	}
	return o.cfg.SetMode(env, m)
}

func (o *disconnect) state(env *Env) (bool, ControlState, error) {
	if o.cfg.State == nil {
		return false, 0, dlms.DataAccessReadWriteDenied
	}
	return o.cfg.State(env)
}

// Invoke serves remote_disconnect (1) and remote_reconnect (2). Their parameter, integer 0, carries nothing.
func (o *disconnect) Invoke(env *Env, method int8, _ dlms.Data) (dlms.Data, error) {
	switch method {
	case 1:
		return call(env, o.cfg.Disconnect)
	case 2:
		return call(env, o.cfg.Reconnect)
	}
	return dlms.Null(), dlms.ActionReadWriteDenied
}

// RemoteDisconnectControl is a Disconnect control of a meter (BB 4.5.8).
type RemoteDisconnectControl struct{ remote }

// DisconnectControlAt returns the Disconnect control under a logical name, 0.0.96.3.10.255 by the standard.
func DisconnectControlAt(c Caller, o dlms.OBIS) RemoteDisconnectControl {
	return RemoteDisconnectControl{remote{c, dlms.ClassDisconnectControl, o}}
}

// Output reads whether the customer is supplied.
func (r RemoteDisconnectControl) Output(ctx context.Context) (bool, error) {
	return readAs(ctx, r.remote, 2, dlms.Data.Bool)
}

// State reads control_state.
func (r RemoteDisconnectControl) State(ctx context.Context) (ControlState, error) {
	return readAs(ctx, r.remote, 3, parseEnum[ControlState])
}

// Mode reads control_mode.
func (r RemoteDisconnectControl) Mode(ctx context.Context) (ControlMode, error) {
	return readAs(ctx, r.remote, 4, parseEnum[ControlMode])
}

// SetMode writes control_mode.
func (r RemoteDisconnectControl) SetMode(ctx context.Context, m ControlMode) error {
	return r.set(ctx, 4, dlms.Enum(uint8(m)))
}

// Disconnect commands a disconnection. That it was done is for State to say.
func (r RemoteDisconnectControl) Disconnect(ctx context.Context) error { return r.trigger(ctx, 1) }

// Reconnect commands a reconnection: by the mode the supply is on at once, or a person at the meter has to act.
func (r RemoteDisconnectControl) Reconnect(ctx context.Context) error { return r.trigger(ctx, 2) }
