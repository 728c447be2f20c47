package apdu

import (
	"encoding/binary"
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// MaxWindow is the largest window of a general block transfer: six bits (GB 9.3.13).
const MaxWindow = 63

// Bits of the block control byte of a general block transfer (GB 9.5); bits 0 to 5 are the window.
const (
	blockControlLast      = 0x80
	blockControlStreaming = 0x40
	blockControlWindow    = 0x3F
)

// BlockTransfer is general-block-transfer (GB 9.3.13, 9.5): one block of any APDU, ciphered or not, that is longer
// than the peer receives. The data of all blocks together is that APDU. In both directions at the same time: each
// also confirms what came the other way.
//
//	General-Block-Transfer ::= SEQUENCE {
//	  block-control    Unsigned8,
//	  block-number     Unsigned16,
//	  block-number-ack Unsigned16,
//	  block-data       OCTET STRING }
type BlockTransfer struct {
	// Last says that no block follows in this direction.
	Last bool
	// Streaming says that the sender goes on without waiting: more blocks of this window follow.
	Streaming bool
	// Window is how many blocks the sender can receive in a row, 0 to MaxWindow; 0 confirms what is not confirmed
	// block by block, such as a notification.
	Window uint8
	// Number is the number of this block, from 1.
	Number uint16
	// Ack is the number of the block received last without a gap, 0 before the first.
	Ack uint16
	// Data aliases the input after parsing. It may be empty, in a block that only confirms.
	Data []byte
}

// ParseBlockTransfer parses a BlockTransfer, without allocation.
func ParseBlockTransfer(b []byte) (BlockTransfer, error) {
	r := wire.NewReader(b)
	t := readBlockTransfer(&r)
	if err := done(&r, TagGeneralBlockTransfer); err != nil {
		return BlockTransfer{}, err
	}
	return t, nil
}

func readBlockTransfer(r *wire.Reader) BlockTransfer {
	var t BlockTransfer
	expectTag(r, TagGeneralBlockTransfer)
	control := r.In("block control").Uint8()
	t.Last = control&blockControlLast != 0
	t.Streaming = control&blockControlStreaming != 0
	t.Window = control & blockControlWindow
	t.Number = r.In("block number").Uint16()
	t.Ack = r.In("block number ack").Uint16()
	t.Data = r.In("block data").OctetString()
	return t
}

// AppendBinary appends the block, without allocation when dst has the room. It fails only for a window above
// MaxWindow.
func (t BlockTransfer) AppendBinary(dst []byte) ([]byte, error) {
	if t.Window > MaxWindow {
		return nil, fmt.Errorf("append %s: %w: window %d, want at most %d", TagGeneralBlockTransfer, ErrValue, t.Window, MaxWindow)
	}
	control := t.Window
	if t.Last {
		control |= blockControlLast
	}
	if t.Streaming {
		control |= blockControlStreaming
	}
	dst = append(dst, byte(TagGeneralBlockTransfer), control)
	dst = binary.BigEndian.AppendUint16(dst, t.Number)
	dst = binary.BigEndian.AppendUint16(dst, t.Ack)
	return wire.AppendOctetString(dst, t.Data), nil
}

// BlockTransferOverhead returns how many bytes of an APDU of maxPDU bytes a block transfer takes for itself: tag,
// control, two numbers and the length of the data.
func BlockTransferOverhead(maxPDU int) int {
	const head = 1 + 1 + 2 + 2
	return head + wire.LengthSize(max(0, maxPDU-head))
}
