package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/mbus"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

func hdlcBegins(b []byte) bool {
	return b[0] == hdlc.Flag && (len(b) < 2 || b[1] == hdlc.Flag || b[1]&0xF0 == 0xA0)
}

// hdlcSize returns how long the frame at b is by its length field, flags included, 0 if there is no flag at its end.
func hdlcSize(b []byte) int {
	if len(b) < 4 || b[0] != hdlc.Flag || b[1]&0xF0 != 0xA0 {
		return 0
	}
	size := int(b[1]&7)<<8 | int(b[2])
	if size+2 > len(b) || b[size+1] != hdlc.Flag {
		return 0
	}
	return size + 2
}

func hdlcSound(b []byte) bool {
	_, err := hdlc.ParseFrame(b)
	return err == nil
}

// hdlcFrame reads one frame, with the flags before it.
func (c *cursor) hdlcFrame(root *Node) {
	for c.left() > 1 && c.buf[c.off+1] == hdlc.Flag { // flags fill the time between frames
		c.off++
	}
	if c.left() == 1 {
		c.add(root, "hdlc flag", c.off, c.end)
		c.off = c.end
		return
	}
	size := hdlcSize(c.buf[c.off:c.end])
	if size == 0 {
		c.brokenHDLC(root)
		return
	}
	frame, err := hdlc.ParseFrame(c.buf[c.off : c.off+size])
	body := c.part(size)
	g := body.add(root, "hdlc frame", body.off, body.end)
	if err != nil {
		g.Error = plain(err)
	} else {
		g.Bytes = nil
		body.hdlcFields(g, frame)
	}
	if c.left() > 1 && c.buf[c.off] != hdlc.Flag && c.buf[c.off]&0xF0 == 0xA0 {
		c.off-- // the closing flag opens the next frame too
	}
}

// brokenHDLC passes over a frame whose length leads to no flag, up to the next flag.
func (c *cursor) brokenHDLC(root *Node) {
	end := c.end
	if i := bytes.IndexByte(c.buf[c.off+1:c.end], hdlc.Flag); i >= 0 {
		end = c.off + 1 + i
	}
	g := c.add(root, "hdlc frame", c.off, end)
	if g.Error == "" {
		g.Error = "no flag at the end that its length tells: truncated or damaged"
	}
	c.off = end
}

// hdlcFields shows a frame that is sound, so that every field is there.
func (c *cursor) hdlcFields(g *Node, f hdlc.Frame) {
	c.take(g, "flag", 1)
	c.take(g, "format", 2).Value = either(f.Segmented, "type 3, more segments follow", "type 3")
	c.take(g, "destination", f.Destination.Size).Value = f.Destination.String()
	c.take(g, "source", f.Source.Size).Value = f.Source.String()
	c.take(g, "control", 1).Value = f.Control.String()
	g.Value = f.Control.String() + ", " + f.Source.String() + " to " + f.Destination.String()
	if len(f.Info) > 0 {
		c.take(g, "header check", 2)
		info := c.part(len(f.Info))
		info.link = "hdlc " + f.Source.String() + " to " + f.Destination.String()
		info.hdlcInfo(g, f)
	}
	c.take(g, "frame check", 2)
	c.take(g, "flag", 1)
}

func (c *cursor) hdlcInfo(g *Node, f hdlc.Frame) {
	switch f.Control.Kind() {
	case hdlc.KindI, hdlc.KindUI:
	case hdlc.KindSNRM, hdlc.KindUA:
		c.hdlcParams(g)
		return
	default:
		c.take(g, "information", c.left())
		return
	}
	key := c.way("segments")
	pending := c.d.blocks[key]
	if pending == nil && !f.Segmented {
		c.llc(g)
		c.only(g)
		return
	}
	n := c.take(g, "segment", c.left())
	if c.d.full {
		return
	}
	number := uint64(0)
	if pending != nil {
		number = pending.next
	}
	whole, _ := c.d.join(key, number, 0, !f.Segmented, n.Bytes)
	if whole == nil {
		return
	}
	w, inner := c.derive(g, "information of "+strconv.Itoa(whole.parts)+" frames", whole.data)
	inner.llc(w)
	inner.only(w)
}

// hdlcParams shows the parameters of SNRM and UA (GB 8.4.5.3).
func (c *cursor) hdlcParams(g *Node) {
	names := map[byte]string{5: "maximum information field length, transmit", 6: "maximum information field length, receive", 7: "window size, transmit", 8: "window size, receive"}
	const format, group = 0x81, 0x80
	if c.left() < 3 || c.buf[c.off] != format || c.buf[c.off+1] != group {
		c.take(g, "information", c.left())
		return
	}
	c.take(g, "parameter group", 3)
	for c.ok() && c.left() >= 2 {
		id, size := c.buf[c.off], int(c.buf[c.off+1])
		name := names[id]
		if name == "" {
			name = "parameter " + strconv.Itoa(int(id))
		}
		if !c.has(g, name, 2+size) {
			return
		}
		n := c.take(g, name, 2+size)
		var v uint64
		for _, b := range n.Bytes[min(2, len(n.Bytes)):] {
			v = v<<8 | uint64(b)
		}
		n.Value = strconv.FormatUint(v, 10)
	}
	c.finish(g)
}

// llcSize returns the size of the LLC header of HDLC, 0 if there is none (GB 8.3.2).
func llcSize(b []byte) int {
	if bytes.HasPrefix(b, []byte{0xE6, 0xE6, 0x00}) || bytes.HasPrefix(b, []byte{0xE6, 0xE7, 0x00}) {
		return 3
	}
	return 0
}

// llc reads the LLC header where there is one: of several segments or blocks only the first has it.
func (c *cursor) llc(n *Node) {
	if !c.ok() || llcSize(c.buf[c.off:c.end]) == 0 {
		return
	}
	response := c.buf[c.off+1] == 0xE7
	c.take(n, "llc", 3).Value = either(response, "response", "command")
}

func wrapperBegins(b []byte) bool {
	return len(b) >= wrapper.HeaderSize && binary.BigEndian.Uint16(b) == wrapper.Version
}

func (c *cursor) wrapperFrame(root *Node) {
	c.group(root, "wrapper frame", func(g *Node) {
		c.uint(g, "version", 2)
		source, n := c.uint(g, "source wPort", 2)
		n.Note = sapName(dlms.SAP(source))
		destination, n := c.uint(g, "destination wPort", 2)
		n.Note = sapName(dlms.SAP(destination))
		size, n := c.uint(g, "length", 2)
		g.Value = fmt.Sprintf("%d to %d", source, destination)
		if int(size) > c.left() {
			n.Error = fmt.Sprintf("truncated: want %d bytes, got %d", size, c.left())
			size = uint64(c.left())
		}
		body := c.part(int(size))
		body.link = fmt.Sprintf("wrapper %d to %d", source, destination)
		body.only(g)
	})
}

func sapName(s dlms.SAP) string {
	switch s {
	case dlms.SAPManagement:
		return "management"
	case dlms.SAPPublic:
		return "public client"
	}
	return ""
}

func mbusBegins(b []byte) bool {
	if b[0] == mbus.StartLong {
		return len(b) > 3 && b[1] == b[2] && b[3] == mbus.StartLong
	}
	return mbusSize(b) > 0 && mbusSound(b[:mbusSize(b)])
}

// mbusSize returns how long the frame at b is, 0 if it is none or not all there.
func mbusSize(b []byte) int {
	size := 0
	switch {
	case len(b) == 0:
	case b[0] == mbus.Ack:
		size = 1
	case b[0] == mbus.StartShort:
		size = 5
	case b[0] == mbus.StartLong && len(b) > 3 && b[1] == b[2] && b[3] == mbus.StartLong:
		size = int(b[1]) + 6
	}
	if size > len(b) {
		return 0
	}
	return size
}

func mbusSound(b []byte) bool {
	_, err := mbus.ParseFrame(b)
	return err == nil
}

func (c *cursor) mbusFrame(root *Node) {
	size := mbusSize(c.buf[c.off:c.end])
	if size == 0 {
		n := c.add(root, "m-bus frame", c.off, c.end)
		n.Error = fmt.Sprintf("truncated: want %d bytes, got %d", int(c.buf[c.off+1])+6, c.left())
		c.off = c.end
		return
	}
	frame, err := mbus.ParseFrame(c.buf[c.off : c.off+size])
	if err != nil {
		c.brokenMBus(root, size, err)
		return
	}
	body := c.part(size)
	g := body.add(root, "m-bus "+frame.Kind.String(), body.off, body.end)
	if frame.Kind == mbus.KindAck {
		return
	}
	g.Bytes = nil
	body.mbusFields(g, frame)
}

// brokenMBus passes over a damaged frame: all of it where a stop stands at its end, else its header.
func (c *cursor) brokenMBus(root *Node, size int, err error) {
	if c.buf[c.off+size-1] != mbus.Stop {
		size = 4
	}
	n := c.add(root, "m-bus frame", c.off, c.off+size)
	if n.Error == "" {
		n.Error = plain(err)
	}
	c.off += size
}

func (c *cursor) mbusFields(g *Node, f mbus.Frame) {
	c.take(g, "header", either4(f.Kind == mbus.KindShort, 1))
	n := c.take(g, "control field", 1)
	n.Value = fmt.Sprintf("%02X", f.Control)
	n.Note = mbus.ControlName(f.Control)
	c.take(g, "address", 1).Value = strconv.Itoa(int(f.Address))
	if f.Kind != mbus.KindShort {
		ci := c.take(g, "control information", 1)
		ci.Value = fmt.Sprintf("%02X", f.CI)
		body := c.part(len(f.Data))
		body.mbusData(g, ci, f)
	}
	c.take(g, "check sum", 1)
	c.take(g, "stop", 1)
}

// either4 is the size of the header: four octets, or of a short frame the one given.
func either4(short bool, size int) int {
	if short {
		return size
	}
	return 4
}

func (c *cursor) mbusData(g, ci *Node, f mbus.Frame) {
	s, err := mbus.ParseSegment(f)
	if err != nil {
		if c.left() > 0 {
			c.take(g, "data", c.left()).Note = "no segment of a dlms apdu"
		}
		return
	}
	ci.Value += fmt.Sprintf(", segment %d%s", s.Number, either(s.Last, ", the last one", ""))
	c.take(g, "stsap", 1).Value = s.Source.String()
	c.take(g, "dtsap", 1).Value = s.Destination.String()
	g.Value = s.Source.String() + " to " + s.Destination.String()
	c.link = "m-bus " + g.Value
	a := c.d.mbus[c.link]
	if a == nil {
		a = new(mbus.Assembler)
		c.d.mbus[c.link] = a
	}
	if s.Number == 0 && s.Last {
		delete(c.d.mbus, c.link)
		c.only(g)
		return
	}
	n := c.take(g, "segment", c.left())
	whole, err := a.Add(s)
	if err != nil {
		n.Error = plain(err)
	}
	if whole == nil {
		return
	}
	w, inner := c.derive(g, "apdu of "+strconv.Itoa(int(s.Number)+1)+" segments", whole)
	inner.only(w)
}
