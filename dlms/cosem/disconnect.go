package cosem

import (
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
	Instance dlms.OBIS
	// Mode is control_mode, 0 to 6: which transitions the meter knows.
	Mode uint8
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
		return dlms.Enum(o.cfg.Mode), nil
	}
	return undefined()
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
