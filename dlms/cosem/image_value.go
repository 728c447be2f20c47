package cosem

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/meterseal/meterseal/dlms"
)

// ImageInfo is one image that is ready to be activated (BB 4.4.6, image_to_activate_info).
//
//	image_to_activate_info_element ::= structure { image_to_activate_size double-long-unsigned,
//	  image_to_activate_identification octet-string, image_to_activate_signature octet-string }
type ImageInfo struct {
	// Size is in bytes.
	Size uint32
	// Identifier names the image, and tells its version.
	Identifier []byte
	// Signature is of the maker's choice; empty for none.
	Signature []byte
}

// Data returns the element as it travels.
func (i ImageInfo) Data() dlms.Data {
	return dlms.Structure(dlms.Uint32(i.Size), dlms.OctetString(i.Identifier), dlms.OctetString(i.Signature))
}

// ParseImageInfo takes an element out of a value.
func ParseImageInfo(d dlms.Data) (ImageInfo, error) {
	c := structure(d, 3)
	return finish(&c, ImageInfo{Size: c.uint32(), Identifier: c.octets(), Signature: c.octets()}, "image to activate")
}

// ImageStart is the parameter of image_transfer_initiate (BB 4.4.6).
//
//	data ::= structure { image_identifier octet-string, image_size double-long-unsigned }
type ImageStart struct {
	// Identifier is what the client calls the image.
	Identifier []byte
	// Size is that of the whole image, in bytes.
	Size uint32
}

// Data returns the parameter as it travels.
func (s ImageStart) Data() dlms.Data {
	return dlms.Structure(dlms.OctetString(s.Identifier), dlms.Uint32(s.Size))
}

// ParseImageStart takes the parameter out of a value.
func ParseImageStart(d dlms.Data) (ImageStart, error) {
	c := structure(d, 2)
	return finish(&c, ImageStart{Identifier: c.octets(), Size: c.uint32()}, "image")
}

// ImageBlock is the parameter of image_block_transfer (BB 4.4.6).
//
//	data ::= structure { image_block_number double-long-unsigned, image_block_value octet-string }
type ImageBlock struct {
	// Number counts the blocks from 0.
	Number uint32
	// Value has block size bytes; of the last block, what is left.
	Value []byte
}

// Data returns the parameter as it travels.
func (b ImageBlock) Data() dlms.Data {
	return dlms.Structure(dlms.Uint32(b.Number), dlms.OctetString(b.Value))
}

// ParseImageBlock takes the parameter out of a value.
func ParseImageBlock(d dlms.Data) (ImageBlock, error) {
	c := structure(d, 2)
	return finish(&c, ImageBlock{Number: c.uint32(), Value: c.octets()}, "image block")
}

// ImageBitmap is image_transferred_blocks_status: a bit for each block, the first block first. It has as many bits as
// the image has blocks.
type ImageBitmap struct {
	bits   []byte
	blocks uint32
}

// NewImageBitmap returns a bitmap of so many blocks, none of them there.
func NewImageBitmap(blocks uint32) ImageBitmap {
	return ImageBitmap{bits: make([]byte, (uint64(blocks)+7)/8), blocks: blocks}
}

// Data returns the attribute as it travels.
func (m ImageBitmap) Data() dlms.Data {
	return dlms.BitString(bytes.Clone(m.bits), int(m.blocks))
}

// ParseImageBitmap takes the attribute out of a value.
func ParseImageBitmap(d dlms.Data) (ImageBitmap, error) {
	if err := d.Expect(dlms.TagBitString, -1); err != nil {
		return ImageBitmap{}, fmt.Errorf("transferred blocks: %w", err)
	}
	m := NewImageBitmap(uint32(d.Len()))
	for i := range m.blocks {
		if d.Bit(int(i)) {
			m.Set(i)
		}
	}
	return m, nil
}

// Blocks returns how many blocks there are.
func (m ImageBitmap) Blocks() uint32 { return m.blocks }

// Has reports whether a block is there.
func (m ImageBitmap) Has(i uint32) bool { return i < m.blocks && m.bits[i/8]&(0x80>>(i%8)) != 0 }

// Set marks a block as there. Copies of the bitmap share their bits.
func (m ImageBitmap) Set(i uint32) {
	if i < m.blocks {
		m.bits[i/8] |= 0x80 >> (i % 8)
	}
}

// First returns the first block that is not there, Blocks where all are.
func (m ImageBitmap) First() uint32 {
	for i, b := range m.bits {
		if b != 0xFF {
			return min(uint32(8*i+bits.LeadingZeros8(^b)), m.blocks)
		}
	}
	return m.blocks
}

// Count returns how many blocks are there.
func (m ImageBitmap) Count() uint32 {
	n := 0
	for _, b := range m.bits {
		n += bits.OnesCount8(b)
	}
	return uint32(n)
}
