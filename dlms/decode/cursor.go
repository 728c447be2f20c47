package decode

import (
	"fmt"
	"strconv"
)

// cursor reads a range of a buffer from the front and hangs what it read into the tree. Its first fault becomes an
// error node over all that is left of the range, and every later read does nothing.
type cursor struct {
	d        *decoder
	buf      []byte
	off, end int
	bad      bool
	// secret hides the bytes and values of all nodes that are made.
	secret bool
	// link names the way the bytes came, so that blocks of different ways are not mixed.
	link string
	// depth counts the buffers around this one.
	depth int
}

func (c *cursor) ok() bool { return !c.bad && !c.d.full }

func (c *cursor) left() int { return c.end - c.off }

// peek returns the next byte; ok is false at the end.
func (c *cursor) peek() (b byte, ok bool) {
	if !c.ok() || c.off >= c.end {
		return 0, false
	}
	return c.buf[c.off], true
}

// add hangs a node over a range under n. The last one that the budget allows says so.
func (c *cursor) add(n *Node, name string, from, to int) *Node {
	child := &Node{Name: name, Offset: from, Size: to - from}
	if c.d.full {
		return child
	}
	if c.d.budget--; c.d.budget <= 0 {
		c.d.full = true
		child.Name, child.Error = "limit", "there is more: the rest is not shown"
	}
	n.Children = append(n.Children, child)
	if child.Secret = c.secret; !c.secret {
		child.Bytes = c.buf[from:to:to]
	}
	return child
}

// fail hangs an error node over the rest of the range.
func (c *cursor) fail(n *Node, name, format string, args ...any) {
	if !c.ok() {
		return
	}
	child := c.add(n, name, c.off, c.end)
	if child.Error == "" {
		child.Error = fmt.Sprintf(format, args...)
	}
	c.off = c.end
	c.bad = true
}

// has reports whether size more bytes are there, and fails if not.
func (c *cursor) has(n *Node, name string, size int) bool {
	if c.ok() && size > c.left() {
		c.fail(n, name, "truncated: want %d bytes, got %d", size, c.left())
	}
	return c.ok()
}

// take reads a field of size bytes. The node is never nil; after a fault it hangs nowhere.
func (c *cursor) take(n *Node, name string, size int) *Node {
	if !c.has(n, name, size) {
		return &Node{}
	}
	child := c.add(n, name, c.off, c.off+size)
	c.off += size
	return child
}

// uint reads a number of size bytes, most significant first.
func (c *cursor) uint(n *Node, name string, size int) (uint64, *Node) {
	if !c.has(n, name, size) {
		return 0, &Node{}
	}
	var v uint64
	for _, b := range c.buf[c.off : c.off+size] {
		v = v<<8 | uint64(b)
	}
	child := c.take(n, name, size)
	if !c.secret {
		child.Value = strconv.FormatUint(v, 10)
		child.Number = child.Value
	}
	return v, child
}

// boolean reads an A-XDR BOOLEAN or usage flag: 0 is FALSE, everything else TRUE.
func (c *cursor) boolean(n *Node, name string) bool {
	v, child := c.uint(n, name, 1)
	child.Value, child.Number = strconv.FormatBool(v != 0), ""
	return v != 0
}

// length reads a length of A-XDR or BER in the definite form, and fails where it is more than what is left. It makes
// no node: the node of what has the length begins with it.
func (c *cursor) length(n *Node, name string) int {
	if !c.has(n, name, 1) {
		return 0
	}
	v := int(c.buf[c.off])
	size := 1
	if v >= 0x80 {
		const most = 4
		octets := v & 0x7F
		if octets == 0 || octets > most {
			c.fail(n, name, "length octet %02X", v)
			return 0
		}
		if !c.has(n, name, 1+octets) {
			return 0
		}
		v = 0
		for _, b := range c.buf[c.off+1 : c.off+1+octets] {
			v = v<<8&0x7FFFFFFF | int(b) // what does not fit is refused below all the same: no input is that long
		}
		size += octets
	}
	if v > c.left()-size {
		c.fail(n, name, "length %d, but %d bytes are left", v, c.left()-size)
		return 0
	}
	c.off += size
	return v
}

// octets reads an OCTET STRING: its node begins with the length. content is nil after a fault.
func (c *cursor) octets(n *Node, name string) (content []byte, child *Node) {
	from := c.off
	size := c.length(n, name)
	if !c.ok() {
		return nil, &Node{}
	}
	content = c.buf[c.off : c.off+size : c.off+size]
	c.off += size
	return content, c.add(n, name, from, c.off)
}

// group hangs a node that holds what f reads.
func (c *cursor) group(n *Node, name string, f func(g *Node)) *Node {
	if !c.ok() {
		return &Node{}
	}
	g := c.add(n, name, c.off, c.off)
	g.Bytes = nil
	f(g)
	g.Size = c.off - g.Offset
	return g
}

// list reads a SEQUENCE OF.
func (c *cursor) list(n *Node, name string, each func(g *Node, i int)) {
	c.group(n, name, func(g *Node) {
		count := c.length(g, name)
		g.Value = strconv.Itoa(count)
		for i := 0; i < count && c.ok(); i++ {
			each(g, i)
		}
	})
}

// part returns a cursor over the next size bytes, which the caller has checked, and passes over them.
func (c *cursor) part(size int) cursor {
	p := *c
	p.end = c.off + size
	c.off = p.end
	return p
}

// finish fails where bytes are left.
func (c *cursor) finish(n *Node) {
	if c.ok() && c.left() > 0 {
		c.fail(n, "trailing bytes", "%d bytes behind the end", c.left())
	}
}

// derive hangs a node with a buffer of its own under n, and returns a cursor over that buffer.
func (c *cursor) derive(n *Node, name string, buf []byte) (g *Node, inner cursor) {
	inner = cursor{d: c.d, buf: buf, end: len(buf), secret: c.secret, link: c.link, depth: c.depth + 1}
	if c.d.full {
		return &Node{}, cursor{d: c.d, bad: true}
	}
	g = inner.add(n, name, 0, len(buf))
	g.Bytes, g.Buffer = nil, buf
	if inner.depth > maxDepth {
		inner.fail(g, "limit", "nested too deep")
	}
	return g, inner
}
