package client

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// transfer is where a general block transfer stands (GB 9.3.13): one request and its answer, with a window of one
// block and without streaming. What travels is the APDU as it is sent, ciphered; the blocks around it are not
// authentic, and nothing is concluded from them.
type transfer struct {
	upload    []byte // what of the request is still to be sent
	chunk     int    // bytes of it in a block
	sent, got uint16 // numbers of the last block in each direction
	download  []byte
}

// gbt reports whether the two ends agreed on general block transfer.
func (m *Machine) gbt() bool { return m.conformance.Has(apdu.ConformanceGeneralBlockTransfer) }

// firstPart cuts a request that is too long for the meter, and returns the first block.
func (m *Machine) firstPart(sealed []byte) ([]byte, error) {
	g := &m.op.transfer
	g.upload, g.chunk = sealed, m.maxSend-apdu.BlockTransferOverhead(m.maxSend)
	if g.chunk < 1 || len(sealed)/g.chunk >= 1<<16-1 {
		return nil, fmt.Errorf("%w: %d bytes in blocks of %d", ErrTooLong, len(sealed), m.maxSend)
	}
	return m.nextPart()
}

// nextPart returns the next block of a request, or one that confirms only.
func (m *Machine) nextPart() ([]byte, error) {
	g := &m.op.transfer
	if g.sent == 1<<16-1 {
		return nil, fmt.Errorf("%w: more than %d blocks", ErrTooMuch, g.sent)
	}
	g.sent++
	n := min(g.chunk, len(g.upload))
	t := apdu.BlockTransfer{Last: n == len(g.upload), Window: 1, Number: g.sent, Ack: g.got, Data: g.upload[:n]}
	g.upload = g.upload[n:]
	var err error
	m.part, err = t.AppendBinary(m.part[:0])
	return m.part, err
}

// receivePart takes a general block. Whatever does not fit is refused; once the blocks are whole, the APDU in them is
// taken as if it had come at once.
func (m *Machine) receivePart(b []byte) ([]byte, bool, error) {
	t, err := m.parsePart(b)
	if err != nil {
		return nil, false, err
	}
	g := &m.op.transfer
	if t.Number == g.got && g.got > 0 && (len(t.Data) == 0 || len(g.download) > 0) {
		return nil, false, nil // once more: the confirmation is on its way
	}
	if err := m.checkPart(t); err != nil {
		return nil, false, err
	}
	g.got = t.Number
	if len(g.upload) > 0 {
		next, err := m.nextPart()
		return next, false, err
	}
	g.download = append(g.download, t.Data...)
	if !t.Last {
		next, err := m.nextPart()
		return next, false, err
	}
	whole := g.download
	m.op.transfer = transfer{}
	if tag, err := apdu.TagOf(whole); err == nil && (tag == apdu.TagGeneralBlockTransfer || m.unasked(tag)) {
		return nil, false, refuse("%w: %s inside %s", ErrAnswer, tag, apdu.TagGeneralBlockTransfer)
	}
	return m.receive(whole)
}

func (m *Machine) parsePart(b []byte) (apdu.BlockTransfer, error) {
	t, err := apdu.ParseBlockTransfer(b)
	switch {
	case err != nil:
		return t, refuse("%w: %w", ErrAnswer, err)
	case !m.gbt():
		return t, refuse("%w: %s was not agreed on", ErrAnswer, apdu.TagGeneralBlockTransfer)
	case t.Streaming:
		return t, refuse("%w: a block of a stream, and the window is one", ErrAnswer)
	}
	return t, nil
}

// checkPart holds a block against where the transfer stands. Meters differ in two things: for some a whole request
// counts as block 1, and some number the blocks of an answer from 1 whatever they sent to confirm the request.
func (m *Machine) checkPart(t apdu.BlockTransfer) error {
	g := &m.op.transfer
	confirmed := t.Ack == g.sent || g.sent == 0 && t.Ack == 1
	first := t.Number == 1 && len(g.upload) == 0 && len(g.download) == 0
	switch {
	case t.Number != g.got+1 && !first:
		return refuse("%w: want general block %d, got %d", ErrAnswer, g.got+1, t.Number)
	case !confirmed:
		return refuse("%w: general block %d is confirmed, sent were %d", ErrAnswer, t.Ack, g.sent)
	case len(g.upload) > 0 && len(t.Data) > 0:
		return refuse("%w: an answer in the middle of a long request", ErrAnswer)
	case len(g.upload) == 0 && len(t.Data) == 0:
		return refuse("%w: general block %d is empty", ErrAnswer, t.Number)
	case len(t.Data) > m.cfg.MaxData-len(g.download):
		return refuse("%w: more than %d bytes", ErrTooMuch, m.cfg.MaxData)
	}
	return nil
}
