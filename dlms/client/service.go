package client

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// opKind is what an operation is.
type opKind uint8

const (
	opNone opKind = iota
	opAssociate
	opGet
	opGetList
	opSet
	opSetList
	opAction
	opActionList
	opRelease
)

// operation is the exchange that runs: its request, and where a long transfer stands.
type operation struct {
	kind opKind
	id   apdu.InvokeID
	list int // attributes or methods in a request with list

	upload    []byte // what of the value is still to be sent
	chunk     int    // bytes in a block
	download  []byte // what has come so far
	sent, got uint32 // numbers of the last block in each direction

	transfer transfer
}

func (o *operation) running() bool { return o.kind != opNone }

// nextID returns the invoke-id of a new request. It runs through all 16, so that a late answer to one that was
// given up is told apart.
func (m *Machine) nextID() apdu.InvokeID {
	m.invokeID++
	return apdu.NewInvokeID(m.invokeID, true, true)
}

// begin starts a confirmed service.
func (m *Machine) begin(kind opKind) error {
	if err := m.start(stateOpen); err != nil {
		return err
	}
	if m.cfg.Broadcast != nil {
		return ErrBroadcast
	}
	m.op = operation{kind: kind, id: m.nextID()}
	return nil
}

// first ends the start of a service: the request that was appended to room is sealed, or the operation is off.
func (m *Machine) first(request []byte, err error) ([]byte, error) {
	if err == nil {
		request, err = m.dispatch(request)
	}
	if err != nil {
		m.fail()
		return nil, err
	}
	return request, nil
}

// dispatch seals a request that was appended to room, and cuts it where the meter takes it in general blocks alone.
func (m *Machine) dispatch(request []byte) ([]byte, error) {
	long := m.fits(request)
	if long != nil && !m.gbt() {
		return nil, long
	}
	sealed, err := m.seal(request, m.services)
	if err != nil || long == nil {
		return sealed, err
	}
	return m.firstPart(sealed)
}

// fits reports whether the meter takes a request that was appended to room, protected.
func (m *Machine) fits(request []byte) error {
	if n := len(request) - security.Reserve + m.services.overhead(); m.maxSend > 0 && n > m.maxSend {
		return fmt.Errorf("%w: want at most %d bytes, got %d", ErrTooLong, m.maxSend, n)
	}
	return nil
}

// Get reads an attribute, in blocks if the meter so chooses (GB 9.3.6).
func (m *Machine) Get(a apdu.Attribute) ([]byte, error) {
	if err := m.begin(opGet); err != nil {
		return nil, err
	}
	q := apdu.GetRequest{Kind: apdu.GetRequestNormal, ID: m.op.id, Attribute: a}
	return m.first(q.AppendBinary(m.room()))
}

// GetList reads several attributes in one exchange (GB 9.3.6, with-list).
func (m *Machine) GetList(list []apdu.Attribute) ([]byte, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: want at least one attribute", ErrState)
	}
	if err := m.begin(opGetList); err != nil {
		return nil, err
	}
	m.op.list = len(list)
	q := apdu.GetRequest{Kind: apdu.GetRequestWithList, ID: m.op.id, List: list}
	return m.first(q.AppendBinary(m.room()))
}

// Set writes an attribute, in blocks if it is too long for one APDU (GB 9.3.7).
func (m *Machine) Set(a apdu.Attribute, value dlms.Data) ([]byte, error) {
	if err := m.begin(opSet); err != nil {
		return nil, err
	}
	q := apdu.SetRequest{Kind: apdu.SetRequestNormal, ID: m.op.id, Attribute: a, Value: value}
	plain, err := q.AppendBinary(m.room())
	if err != nil || m.fits(plain) == nil || !m.conformance.Has(apdu.ConformanceBlockTransferSet) {
		return m.first(plain, err)
	}
	q = apdu.SetRequest{Kind: apdu.SetRequestFirstBlock, ID: m.op.id, Attribute: a}
	return m.first(m.firstSetBlock(q, func() ([]byte, error) { return value.AppendBinary(nil) }))
}

// Action invokes a method (GB 9.3.8). A null arg sends no parameters.
func (m *Machine) Action(ref dlms.MethodRef, arg dlms.Data) ([]byte, error) {
	if err := m.begin(opAction); err != nil {
		return nil, err
	}
	q := apdu.ActionRequest{Kind: apdu.ActionRequestNormal, ID: m.op.id, Method: ref}
	q.HasParameters, q.Parameters = !arg.IsNull(), arg
	plain, err := q.AppendBinary(m.room())
	if err != nil || m.fits(plain) == nil || !m.conformance.Has(apdu.ConformanceBlockTransferAction) {
		return m.first(plain, err)
	}
	q = apdu.ActionRequest{Kind: apdu.ActionRequestFirstBlock, ID: m.op.id, Method: ref}
	return m.first(m.firstActionBlock(q, func() ([]byte, error) { return arg.AppendBinary(nil) }))
}

// receiveService takes the answer to a service, protected as the request was.
func (m *Machine) receiveService(b []byte) ([]byte, bool, error) {
	want := [...]apdu.Tag{
		m.op.kind.response(), apdu.TagConfirmedServiceError,
		apdu.TagEventNotification, apdu.TagDataNotification, apdu.TagExceptionResponse, // in a general form alone
	}
	n := 2
	if m.services.general {
		n = len(want)
	}
	before := m.forgeable
	m.forgeable = false
	plain, err := m.open(b, m.services, m.cfg.acceptance(), want[:n]...)
	if err != nil {
		m.forgeable = before
		return nil, false, err
	}
	tag := apdu.Tag(plain[0])
	if isNotification(tag) {
		m.tell(plain, m.cfg.ciphered() && !m.forgeable)
		m.forgeable = before
		return nil, false, nil
	}
	m.forgeable = m.forgeable || before
	if err := m.refused(tag, plain); err != nil {
		return nil, false, authentic(err)
	}
	next, done, err := m.receivePlain(tag, plain)
	if err != nil || next == nil {
		return nil, done, err
	}
	m.op.transfer = transfer{}
	next, err = m.dispatch(next)
	return next, false, err
}

// authentic makes an error of a refusal that has verified: it ends the operation.
func authentic(err error) error {
	if r, ok := err.(refusal); ok { //nolint:errorlint // refused does not wrap it
		return r.error
	}
	return err
}

func (k opKind) response() apdu.Tag {
	switch k {
	case opSet, opSetList:
		return apdu.TagSetResponse
	case opAction, opActionList:
		return apdu.TagActionResponse
	default:
		return apdu.TagGetResponse
	}
}

// receivePlain takes an answer that has verified. Without next and without done it was an answer to an operation
// that was given up: it is dropped.
func (m *Machine) receivePlain(tag apdu.Tag, plain []byte) (next []byte, done bool, err error) {
	switch tag {
	case apdu.TagGetResponse:
		next, done, err = m.receiveGet(plain)
	case apdu.TagSetResponse:
		next, done, err = m.receiveSet(plain)
	case apdu.TagActionResponse:
		next, done, err = m.receiveAction(plain)
	default:
		err = fmt.Errorf("%w: %s", ErrAnswer, tag)
	}
	if errors.Is(err, errLate) {
		return nil, false, nil
	}
	return next, done, err
}

// errLate marks an answer to an operation that was given up.
var errLate = errors.New("late answer")

// answers checks an answer that was parsed: err is the parser's, id the invoke-id in it.
func (m *Machine) answers(id apdu.InvokeID, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if id.ID() != m.op.id.ID() {
		return errLate
	}
	return nil
}

func (m *Machine) receiveGet(plain []byte) ([]byte, bool, error) {
	p, err := apdu.ParseGetResponse(plain)
	if err := m.answers(p.ID, err); err != nil {
		return nil, false, err
	}
	switch {
	case p.Kind == apdu.GetResponseNormal && m.op.kind == opGet && m.op.got == 0:
		return nil, true, m.finish(p.Result)
	case p.Kind == apdu.GetResponseWithList && m.op.kind == opGetList && m.op.got == 0:
		return nil, true, m.finishList(p.List)
	case p.Kind == apdu.GetResponseNormal && p.Result.Result != dlms.DataAccessSuccess:
		return nil, true, p.Result.Result // some meters refuse a list, or a block, in the normal form
	case p.Kind == apdu.GetResponseBlock:
		return m.receiveBlockG(p.Block)
	}
	return nil, false, fmt.Errorf("%w: get-response of kind %d", ErrAnswer, p.Kind)
}

func (m *Machine) finish(r apdu.GetResult) error {
	if r.Result != dlms.DataAccessSuccess {
		return r.Result
	}
	m.value = r.Data
	if r.Data.Bytes() != nil || r.Data.Elements() != nil {
		m.keep()
	}
	return nil
}

func (m *Machine) finishList(list []apdu.GetResult) error {
	if len(list) != m.op.list {
		return fmt.Errorf("%w: want %d results, got %d", ErrAnswer, m.op.list, len(list))
	}
	m.list = list
	m.keep()
	return nil
}

// isList reports whether the operation has a list of results.
func (k opKind) isList() bool { return k == opGetList || k == opSetList || k == opActionList }

func (m *Machine) receiveSet(plain []byte) ([]byte, bool, error) {
	p, err := apdu.ParseSetResponse(plain)
	if err := m.answers(p.ID, err); err != nil {
		return nil, false, err
	}
	switch p.Kind {
	case apdu.SetResponseWithList, apdu.SetResponseLastBlockWithList:
		return nil, true, m.finishSetList(p)
	case apdu.SetResponseNormal:
		if p.Result == dlms.DataAccessSuccess && m.op.kind.isList() {
			return nil, false, fmt.Errorf("%w: one result for a list", ErrAnswer)
		}
		if p.Result == dlms.DataAccessSuccess && m.op.sent > 0 {
			return nil, false, fmt.Errorf("%w: success in the middle of a long set", ErrAnswer)
		}
		return nil, true, outcome(p.Result)
	case apdu.SetResponseBlock:
		return m.nextBlock(p.Block)
	case apdu.SetResponseLastBlock:
		if p.Result == dlms.DataAccessSuccess && (m.op.kind.isList() || p.Block != m.op.sent || len(m.op.upload) > 0) {
			return nil, false, fmt.Errorf("%w: success after block %d, sent %d", ErrAnswer, p.Block, m.op.sent)
		}
		return nil, true, outcome(p.Result)
	}
	return nil, false, fmt.Errorf("%w: set-response of kind %d", ErrAnswer, p.Kind)
}

func outcome(r dlms.DataAccessResult) error {
	if r != dlms.DataAccessSuccess {
		return r
	}
	return nil
}

func (m *Machine) receiveAction(plain []byte) ([]byte, bool, error) {
	p, err := apdu.ParseActionResponse(plain)
	if err := m.answers(p.ID, err); err != nil {
		return nil, false, err
	}
	switch p.Kind {
	case apdu.ActionResponseWithList:
		return nil, true, m.finishActionList(p.List)
	case apdu.ActionResponseNormal:
		if p.Outcome.Result == dlms.ActionSuccess && m.op.kind.isList() {
			return nil, false, fmt.Errorf("%w: one outcome for a list", ErrAnswer)
		}
		if p.Outcome.Result == dlms.ActionSuccess && len(m.op.upload) > 0 {
			return nil, false, fmt.Errorf("%w: success in the middle of a long action", ErrAnswer)
		}
		return nil, true, m.finishAction(p.Outcome)
	case apdu.ActionResponseNext:
		return m.nextBlock(p.Number)
	case apdu.ActionResponseBlock:
		return m.receiveBlockSA(p.Block)
	}
	return nil, false, fmt.Errorf("%w: action-response of kind %d", ErrAnswer, p.Kind)
}

// finishAction keeps the return value. A method that succeeded and whose return parameters are a refusal gives both:
// the refusal as the error, after the method took effect.
func (m *Machine) finishAction(o apdu.ActionOutcome) error {
	if o.Result != dlms.ActionSuccess {
		return o.Result
	}
	if !o.HasReturn {
		return nil
	}
	return m.finish(o.Return)
}
