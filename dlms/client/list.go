package client

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	axdr "github.com/meterseal/meterseal/dlms/internal/wire"
)

// SetList writes several attributes in one exchange, in blocks if they are too long for one APDU (GB 9.3.7,
// with-list). values has one value for each attribute.
func (m *Machine) SetList(list []apdu.Attribute, values []dlms.Data) ([]byte, error) {
	if err := checkList(len(list), len(values)); err != nil {
		return nil, err
	}
	if err := m.begin(opSetList); err != nil {
		return nil, err
	}
	m.op.list = len(list)
	q := apdu.SetRequest{Kind: apdu.SetRequestWithList, ID: m.op.id, List: list, Values: values}
	plain, err := q.AppendBinary(m.room())
	if err != nil || m.fits(plain) == nil || !m.conformance.Has(apdu.ConformanceBlockTransferSet) {
		return m.first(plain, err)
	}
	q = apdu.SetRequest{Kind: apdu.SetRequestListWithFirstBlock, ID: m.op.id, List: list}
	return m.first(m.firstSetBlock(q, func() ([]byte, error) { return appendValues(values) }))
}

// ActionList invokes several methods in one exchange, in blocks if that is too long for one APDU (GB 9.3.8,
// with-list). args has one value for each method, null for none.
func (m *Machine) ActionList(list []dlms.MethodRef, args []dlms.Data) ([]byte, error) {
	if err := checkList(len(list), len(args)); err != nil {
		return nil, err
	}
	if err := m.begin(opActionList); err != nil {
		return nil, err
	}
	m.op.list = len(list)
	q := apdu.ActionRequest{Kind: apdu.ActionRequestWithList, ID: m.op.id, Methods: list, Values: args}
	plain, err := q.AppendBinary(m.room())
	if err != nil || m.fits(plain) == nil || !m.conformance.Has(apdu.ConformanceBlockTransferAction) {
		return m.first(plain, err)
	}
	q = apdu.ActionRequest{Kind: apdu.ActionRequestListWithFirstBlock, ID: m.op.id, Methods: list}
	return m.first(m.firstActionBlock(q, func() ([]byte, error) { return appendValues(args) }))
}

func checkList(n, values int) error {
	switch {
	case n == 0:
		return fmt.Errorf("%w: want at least one", ErrState)
	case n != values:
		return fmt.Errorf("%w: want %d values, got %d", ErrState, n, values)
	}
	return nil
}

// appendValues makes what the blocks of a request with list carry together: a SEQUENCE OF Data.
func appendValues(values []dlms.Data) ([]byte, error) {
	b := axdr.AppendLength(nil, len(values))
	for _, v := range values {
		var err error
		if b, err = v.AppendBinary(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// finishSetList takes the results of a set with list.
func (m *Machine) finishSetList(p apdu.SetResponse) error {
	last := p.Kind == apdu.SetResponseLastBlockWithList
	switch {
	case m.op.kind != opSetList:
		return fmt.Errorf("%w: a list of results, and none was asked for", ErrAnswer)
	case len(m.op.upload) > 0 || last && p.Block != m.op.sent || !last && m.op.sent > 0:
		return fmt.Errorf("%w: results in the middle of a long set", ErrAnswer)
	case len(p.List) != m.op.list:
		return fmt.Errorf("%w: want %d results, got %d", ErrAnswer, m.op.list, len(p.List))
	}
	m.list = p.List
	return nil
}

// finishActionList takes the outcomes of an action with list.
func (m *Machine) finishActionList(list []apdu.ActionOutcome) error {
	switch {
	case m.op.kind != opActionList:
		return fmt.Errorf("%w: a list of outcomes, and none was asked for", ErrAnswer)
	case len(m.op.upload) > 0:
		return fmt.Errorf("%w: outcomes in the middle of a long action", ErrAnswer)
	case len(list) != m.op.list:
		return fmt.Errorf("%w: want %d outcomes, got %d", ErrAnswer, m.op.list, len(list))
	}
	m.list = list
	m.keep()
	return nil
}

// SetList writes several attributes in one exchange. Each has its own result; values has one value for each.
func (a *Association) SetList(ctx context.Context, list []apdu.Attribute, values []dlms.Data) ([]dlms.DataAccessResult, error) {
	var results []dlms.DataAccessResult
	err := a.do(ctx, func(m *Machine) ([]byte, error) { return m.SetList(list, values) },
		func(m *Machine) { results = m.Results() })
	if err != nil {
		return nil, fmt.Errorf("set list of %d: %w", len(list), err)
	}
	return results, nil
}

// ActionList invokes several methods in one exchange. Each has its own outcome; args has one value for each, null for
// none.
func (a *Association) ActionList(ctx context.Context, list []dlms.MethodRef, args []dlms.Data) ([]apdu.ActionOutcome, error) {
	var outcomes []apdu.ActionOutcome
	err := a.do(ctx, func(m *Machine) ([]byte, error) { return m.ActionList(list, args) },
		func(m *Machine) { outcomes = m.Outcomes() })
	if err != nil {
		return nil, fmt.Errorf("action list of %d: %w", len(list), err)
	}
	return outcomes, nil
}

// Authenticated reports whether every answer to the last call had an authentication tag that verified. It is false
// where nothing is ciphered, and may be with Config.EncryptedOnly.
func (a *Association) Authenticated() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine.Authenticated()
}
