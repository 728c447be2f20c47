package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/link"
)

// Association is an open association over a link. Calls block, one at a time; it is safe for concurrent use. The
// link stays the caller's, who closes it.
type Association struct {
	conn  link.Conn
	timed link.Timed // conn, if it keeps the time itself
	cfg   *Config    // of the machine

	mu      sync.Mutex
	machine *Machine
	broken  error
}

// Open associates over conn: AARQ, AARE and, with HLS, the four passes (GB 9.4.2, 9.2.7.4). A refusal is a
// *RejectError, *ExceptionError or *ServiceError; a meter that does not prove itself is ErrAuthentication or an error
// of package security. After an error nothing is left to close but the link.
func Open(ctx context.Context, conn link.Conn, cfg Config) (*Association, error) {
	m, err := NewMachine(cfg)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	a := &Association{conn: conn, cfg: &m.cfg, machine: m}
	a.timed, _ = conn.(link.Timed)
	q, err := m.Open()
	if err != nil {
		return nil, err
	}
	if err := a.exchange(ctx, q); err != nil {
		m.Abandon()
		if a.broken != nil { // there was no association to break
			err = a.broken
		}
		return nil, fmt.Errorf("associate: %w", err)
	}
	return a, nil
}

// Get reads an attribute. A refusal by the meter is a dlms.DataAccessResult.
func (a *Association) Get(ctx context.Context, ref dlms.AttributeRef) (dlms.Data, error) {
	return a.GetSelected(ctx, ref, apdu.Selection{})
}

// GetSelected reads a part of an attribute (selective access).
func (a *Association) GetSelected(ctx context.Context, ref dlms.AttributeRef, s apdu.Selection) (dlms.Data, error) {
	var d dlms.Data
	err := a.do(ctx, func(m *Machine) ([]byte, error) {
		return m.Get(apdu.Attribute{Ref: ref, Selection: s})
	}, func(m *Machine) { d = m.Value() })
	if err != nil {
		return d, fmt.Errorf("get %s: %w", ref, err)
	}
	return d, nil
}

// GetList reads several attributes in one exchange. Each has its own result.
func (a *Association) GetList(ctx context.Context, list []apdu.Attribute) ([]apdu.GetResult, error) {
	var results []apdu.GetResult
	err := a.do(ctx, func(m *Machine) ([]byte, error) { return m.GetList(list) },
		func(m *Machine) { results = m.Values() })
	if err != nil {
		return nil, fmt.Errorf("get list of %d: %w", len(list), err)
	}
	return results, nil
}

// Set writes an attribute. A refusal by the meter is a dlms.DataAccessResult.
func (a *Association) Set(ctx context.Context, ref dlms.AttributeRef, value dlms.Data) error {
	err := a.do(ctx, func(m *Machine) ([]byte, error) { return m.Set(apdu.Attribute{Ref: ref}, value) }, nil)
	if err != nil {
		return fmt.Errorf("set %s: %w", ref, err)
	}
	return nil
}

// Action invokes a method and returns its return value, null if there is none. A null arg sends no parameters. A
// refusal by the meter is a dlms.ActionResult.
func (a *Association) Action(ctx context.Context, ref dlms.MethodRef, arg dlms.Data) (dlms.Data, error) {
	var d dlms.Data
	err := a.do(ctx, func(m *Machine) ([]byte, error) { return m.Action(ref, arg) },
		func(m *Machine) { d = m.Value() })
	if err != nil {
		return d, fmt.Errorf("action %s: %w", ref, err)
	}
	return d, nil
}

// Release closes the association. It is closed at this end whatever comes back; an error says that the meter may
// still hold it open.
func (a *Association) Release(ctx context.Context) error {
	err := a.do(ctx, (*Machine).Release, nil)
	if err != nil {
		a.Abandon()
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// Abandon forgets the association without a word to the meter, for one whose long-term key has just been replaced:
// the meter has closed it by itself.
func (a *Association) Abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.machine.Abandon()
}

// Err returns an error that matches ErrBroken once the association is broken, ErrState once it is closed, else nil.
func (a *Association) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.errLocked()
}

// PeerTitle returns the meter's system title, zero when it did not say.
func (a *Association) PeerTitle() dlms.SystemTitle {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.PeerTitle()
}

// Conformance returns what the two ends agreed on.
func (a *Association) Conformance() apdu.Conformance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Conformance()
}

func (a *Association) errLocked() error {
	if a.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, a.broken)
	}
	if !a.machine.Established() {
		return fmt.Errorf("%w: the association is %s", ErrState, a.machine.state)
	}
	return nil
}

// do runs one operation. A context that is done before anything was sealed breaks nothing.
func (a *Association) do(ctx context.Context, start func(*Machine) ([]byte, error), result func(*Machine)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.errLocked(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	q, err := start(a.machine)
	if err != nil {
		return err
	}
	if err := a.exchange(ctx, q); err != nil {
		return err
	}
	if result != nil {
		result(a.machine)
	}
	return nil
}

// exchange carries an operation through. When it stops in the middle, the association is broken: the meter may have
// done what was asked.
func (a *Association) exchange(ctx context.Context, q []byte) error {
	for {
		answer, err := a.ask(ctx, q)
		if err != nil {
			a.broken = err
			a.machine.Abandon()
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		if answer.done {
			return answer.err
		}
		q = answer.next
	}
}

// answer is what the machine made of an answer.
type answer struct {
	next []byte
	done bool
	err  error // of an operation that is done
}

// ask sends q and receives until there is an answer to it, sending the same bytes again when none comes.
func (a *Association) ask(ctx context.Context, q []byte) (answer, error) {
	for try := 0; ; try++ {
		got, err := a.try(ctx, q)
		if !errors.Is(err, ErrTimeout) || try >= a.cfg.Retries || ctx.Err() != nil {
			return unsure(got, err, try)
		}
	}
}

// unsure makes an unknown outcome of an exception to a second copy: the meter may have served the first and refused
// the second as a replay.
func unsure(got answer, err error, try int) (answer, error) {
	if try > 0 && err == nil && got.done && errors.As(got.err, new(*ExceptionError)) {
		return answer{}, got.err
	}
	return got, err
}

// try sends q once. A link that keeps the time itself bounds the whole exchange; for another one a context does.
func (a *Association) try(ctx context.Context, q []byte) (answer, error) {
	if a.timed != nil && a.timed.Within(a.cfg.Timeout) {
		defer a.timed.Within(0)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, a.cfg.Timeout, ErrTimeout)
		defer cancel()
	}
	if err := a.conn.Send(ctx, q); err != nil {
		return answer{}, timeout(err)
	}
	w := waiting{Association: a}
	defer w.stop()
	for {
		b, err := a.conn.Receive(w.context(ctx))
		if err != nil {
			return w.over(ctx, timeout(err))
		}
		if got, ok, err := w.take(b); ok || err != nil {
			return got, err
		}
	}
}

// timeout makes the end of the link's own time ErrTimeout.
func timeout(err error) error {
	if errors.Is(err, link.ErrTimeout) {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}
