package client

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// lengthRoom is what the length of the raw data in a block takes at most, in bytes.
const lengthRoom = 3

// firstSetBlock cuts what raw gives into blocks that the meter can take, and returns the request q with the first.
func (m *Machine) firstSetBlock(q apdu.SetRequest, raw func() ([]byte, error)) ([]byte, error) {
	return m.firstBlock(raw, func(b apdu.Block) ([]byte, error) {
		q.Block = b
		return q.AppendBinary(m.room())
	})
}

// firstActionBlock is firstSetBlock for an action.
func (m *Machine) firstActionBlock(q apdu.ActionRequest, raw func() ([]byte, error)) ([]byte, error) {
	return m.firstBlock(raw, func(b apdu.Block) ([]byte, error) {
		q.Block = b
		return q.AppendBinary(m.room())
	})
}

// firstBlock cuts what raw gives into blocks that the meter can take and returns the request that carries the first,
// which build makes (GB 9.3.7, 9.3.8). All blocks have the size of the first, the one with the longest header.
func (m *Machine) firstBlock(raw func() ([]byte, error), build func(apdu.Block) ([]byte, error)) ([]byte, error) {
	upload, err := raw()
	if err != nil {
		return nil, err
	}
	empty, err := build(apdu.Block{Number: 1})
	if err != nil {
		return nil, err
	}
	m.op.upload = upload
	m.op.chunk = m.maxSend - m.services.overhead() - (len(empty) - security.Reserve) - lengthRoom
	if m.op.chunk < 1 {
		return nil, fmt.Errorf("%w: no block fits into %d bytes", ErrTooLong, m.maxSend)
	}
	return build(m.takeBlock())
}

func (m *Machine) takeBlock() apdu.Block {
	n := min(m.op.chunk, len(m.op.upload))
	b := apdu.Block{Number: m.op.sent + 1, Raw: m.op.upload[:n], Last: n == len(m.op.upload)}
	m.op.upload, m.op.sent = m.op.upload[n:], b.Number
	return b
}

// nextBlock sends the next block after the meter has confirmed the last one.
func (m *Machine) nextBlock(confirmed uint32) ([]byte, bool, error) {
	if m.op.sent == 0 || confirmed != m.op.sent || len(m.op.upload) == 0 {
		return nil, false, fmt.Errorf("%w: block %d is confirmed, sent were %d", ErrAnswer, confirmed, m.op.sent)
	}
	var next []byte
	var err error
	if m.op.kind.response() == apdu.TagSetResponse {
		next, err = apdu.SetRequest{Kind: apdu.SetRequestBlock, ID: m.op.id, Block: m.takeBlock()}.AppendBinary(m.room())
	} else {
		next, err = apdu.ActionRequest{Kind: apdu.ActionRequestBlock, ID: m.op.id, Block: m.takeBlock()}.AppendBinary(m.room())
	}
	return next, false, err
}

// receiveBlockG takes a block of a long get.
func (m *Machine) receiveBlockG(b apdu.Block) ([]byte, bool, error) {
	if b.Result != dlms.DataAccessSuccess {
		return nil, true, b.Result
	}
	if err := m.collect(b); err != nil {
		return nil, false, err
	}
	if b.Last {
		return nil, true, m.finishBlocks()
	}
	next, err := apdu.GetRequest{Kind: apdu.GetRequestNext, ID: m.op.id, Block: b.Number}.AppendBinary(m.room())
	return next, false, err
}

// receiveBlockSA takes a block of the return parameters of an action.
func (m *Machine) receiveBlockSA(b apdu.Block) ([]byte, bool, error) {
	if len(m.op.upload) > 0 {
		return nil, false, fmt.Errorf("%w: an answer in the middle of a long action", ErrAnswer)
	}
	if err := m.collect(b); err != nil {
		return nil, false, err
	}
	if b.Last {
		return nil, true, m.finishActionBlocks()
	}
	next, err := apdu.ActionRequest{Kind: apdu.ActionRequestNext, ID: m.op.id, Number: b.Number}.AppendBinary(m.room())
	return next, false, err
}

// collect appends a block: they come in order from 1, none is empty, and together they keep within the bound. An
// empty one is refused because a meter could send them for ever.
func (m *Machine) collect(b apdu.Block) error {
	switch {
	case b.Number != m.op.got+1:
		return fmt.Errorf("%w: want block %d, got %d", ErrAnswer, m.op.got+1, b.Number)
	case len(b.Raw) == 0:
		return fmt.Errorf("%w: block %d is empty", ErrAnswer, b.Number)
	case len(b.Raw) > m.cfg.MaxData-len(m.op.download):
		return fmt.Errorf("%w: more than %d bytes", ErrTooMuch, m.cfg.MaxData)
	}
	m.op.got = b.Number
	m.op.download = append(m.op.download, b.Raw...)
	return nil
}

// finishBlocks parses what the blocks of a long get make together.
func (m *Machine) finishBlocks() error {
	if m.op.kind == opGetList {
		list, err := apdu.ParseGetResults(m.op.download)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return m.finishList(list)
	}
	d, rest, err := dlms.ParseData(m.op.download)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	case len(rest) > 0:
		return fmt.Errorf("%w: %d bytes after the data", ErrAnswer, len(rest))
	}
	m.value = d
	return nil
}

// finishActionBlocks parses what the blocks of a long action-response make together: the content of the normal form,
// or of the form with list.
func (m *Machine) finishActionBlocks() error {
	kind := apdu.ActionResponseNormal
	if m.op.kind == opActionList {
		kind = apdu.ActionResponseWithList
	}
	whole := append([]byte{byte(apdu.TagActionResponse), byte(kind), byte(m.op.id)}, m.op.download...)
	p, err := apdu.ParseActionResponse(whole)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if m.op.kind == opActionList {
		return m.finishActionList(p.List)
	}
	return m.finishAction(p.Outcome)
}
