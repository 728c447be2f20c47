package cosem_test

import (
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// The table of BB 4.5.8, cell by cell. Rows: disconnected, connected, ready for reconnection. Columns: remote
// disconnect, remote reconnect, manual disconnect, manual reconnect, local disconnect, local reconnect. A digit is the
// state that follows.
var controlTable = [7][3]string{
	{"------", "------", "------"},
	{"-2----", "0-2-2-", "0--1--"},
	{"-1----", "0-2-2-", "0--1--"},
	{"-2----", "0---2-", "0--1--"},
	{"-1----", "0---2-", "0--1--"},
	{"-2----", "0-2-2-", "0--1-1"},
	{"-2----", "0---2-", "0--1-1"},
}

func TestEveryCellOfTheControlModes(t *testing.T) {
	for mode, rows := range controlTable {
		for state, row := range rows {
			for on, cell := range row {
				from := cosem.ControlState(state)
				to, ok := cosem.ControlMode(mode).Next(from, cosem.Trigger(on))
				want, moves := from, cell != '-'
				if moves {
					want = cosem.ControlState(cell - '0')
				}
				if to != want || ok != moves {
					t.Errorf("mode %d, %s, %s: want %s (%t), got %s (%t)", mode, from, cosem.Trigger(on), want, moves, to, ok)
				}
			}
		}
	}
	for _, mode := range []cosem.ControlMode{7, 255} {
		if _, ok := mode.Next(cosem.Connected, cosem.RemoteDisconnect); ok || mode.Valid() {
			t.Errorf("mode %d is there", mode)
		}
	}
}

// A Breaker moves where the table says so, drives its switch once for each move, and stays otherwise.
func TestABreakerFollowsTheTable(t *testing.T) {
	for mode, rows := range controlTable {
		for state, row := range rows {
			for on, cell := range row {
				var driven []cosem.ControlState
				b, err := cosem.NewBreaker(cosem.BreakerConfig{
					Mode: cosem.ControlMode(mode), State: cosem.ControlState(state),
					Drive: func(to cosem.ControlState, _ cosem.Trigger) error { driven = append(driven, to); return nil },
				})
				if mode == 0 && state != int(cosem.Connected) {
					refused(t, err, cosem.ErrValue)
					continue
				}
				must(t, err)
				err = b.Do(cosem.Trigger(on))
				switch {
				case cell != '-':
					if want := cosem.ControlState(cell - '0'); err != nil || b.State() != want || len(driven) != 1 || driven[0] != want {
						t.Errorf("mode %d, state %d, %s: %v, %s, driven %v", mode, state, cosem.Trigger(on), err, b.State(), driven)
					}
				case b.State() != cosem.ControlState(state) || len(driven) != 0:
					t.Errorf("mode %d, state %d, %s: moved to %s, %v", mode, state, cosem.Trigger(on), b.State(), driven)
				}
			}
		}
	}
}

func TestACommandThatIsFulfilledMayBeRepeated(t *testing.T) {
	for _, c := range []struct {
		mode  cosem.ControlMode
		state cosem.ControlState
		on    cosem.Trigger
		want  error
	}{
		{3, cosem.Disconnected, cosem.RemoteDisconnect, nil},
		{3, cosem.ReadyForReconnection, cosem.RemoteReconnect, nil},
		{3, cosem.Connected, cosem.RemoteReconnect, nil},
		{4, cosem.Connected, cosem.RemoteReconnect, nil},
		{4, cosem.ReadyForReconnection, cosem.RemoteReconnect, cosem.ErrNoTransition}, // it asks for power, which only a person gives
		{5, cosem.Connected, cosem.LocalReconnect, nil},
		{5, cosem.Disconnected, cosem.LocalReconnect, cosem.ErrNoTransition},
		{5, cosem.Disconnected, cosem.ManualReconnect, cosem.ErrNoTransition},
		{5, cosem.ReadyForReconnection, cosem.LocalDisconnect, nil},
		{3, cosem.Connected, cosem.ManualDisconnect, cosem.ErrNoTransition},
		{0, cosem.Connected, cosem.RemoteDisconnect, cosem.ErrNoTransition},
		{0, cosem.Connected, cosem.RemoteReconnect, nil},
	} {
		b, err := cosem.NewBreaker(cosem.BreakerConfig{Mode: c.mode, State: c.state})
		must(t, err)
		if err := b.Do(c.on); !errors.Is(err, c.want) {
			t.Errorf("mode %d, %s, %s: want %v, got %v", c.mode, c.state, c.on, c.want, err)
		}
	}
}

func TestABreakerIsWorkedFromAfar(t *testing.T) {
	stuck := errors.New("stuck")
	var fail error
	b, err := cosem.NewBreaker(cosem.BreakerConfig{
		Mode: 4, State: cosem.Connected,
		Drive:    func(cosem.ControlState, cosem.Trigger) error { return fail },
		SaveMode: func(cosem.ControlMode) error { return fail },
	})
	must(t, err)
	o := dlms.OBIS{0, 0, 96, 3, 10, 255}
	r := cosem.DisconnectControlAt(reach(t, cosem.NewBreakerControl(o, func(*cosem.Env) (*cosem.Breaker, error) { return b, nil })), o)
	must(t, r.Disconnect(ctx))
	if on, s := got(r.Output(ctx))(t), got(r.State(ctx))(t); on || s != cosem.Disconnected {
		t.Errorf("output %t, %s", on, s)
	}
	refused(t, r.SetMode(ctx, 0), dlms.DataAccessScopeViolated) // it would switch on
	refused(t, r.SetMode(ctx, 7), dlms.DataAccessScopeViolated)
	must(t, r.SetMode(ctx, 3))
	must(t, r.Reconnect(ctx))
	if on, s := got(r.Output(ctx))(t), got(r.State(ctx))(t); on || s != cosem.ReadyForReconnection {
		t.Errorf("output %t, %s", on, s)
	}
	must(t, b.Do(cosem.ManualReconnect))
	if on := got(r.Output(ctx))(t); !on {
		t.Error("no output")
	}
	fail = stuck
	refused(t, r.Disconnect(ctx), dlms.ActionOtherReason)
	if b.State() != cosem.Connected {
		t.Errorf("a switch that is stuck moved to %s", b.State())
	}
	refused(t, r.SetMode(ctx, 1), dlms.DataAccessOtherReason)
	fail = nil
	must(t, r.SetMode(ctx, 0))
	refused(t, r.Disconnect(ctx), dlms.ActionScopeViolated)
	if m := got(r.Mode(ctx))(t); m != 0 {
		t.Errorf("mode %d", m)
	}
}
