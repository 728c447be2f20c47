package decode

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/meterseal/meterseal/dlms"
)

// data reads one value of the Data type (GB 9.5).
func (c *cursor) data(n *Node, name string) *Node { return c.value(n, name, 0) }

func (c *cursor) value(n *Node, name string, depth int) *Node {
	tag, ok := c.peek()
	if t := dlms.Tag(tag); ok && (t == dlms.TagArray || t == dlms.TagStructure) {
		return c.listValue(n, name, t, depth)
	}
	if !ok {
		c.fail(n, name, "truncated: no value")
		return &Node{}
	}
	d, rest, err := dlms.ParseData(c.buf[c.off:c.end])
	if err != nil {
		c.fail(n, name, "%s", plain(err))
		return &Node{}
	}
	child := c.take(n, name, c.left()-len(rest))
	c.show(child, d)
	if d.Tag() == dlms.TagCompactArray && !c.secret {
		c.expand(child, d)
	}
	return child
}

func (c *cursor) listValue(n *Node, name string, tag dlms.Tag, depth int) *Node {
	return c.group(n, name, func(g *Node) {
		g.Type = tag.String()
		if depth == dlms.MaxDataDepth {
			c.fail(g, name, "nested too deep: more than %d levels", dlms.MaxDataDepth)
			return
		}
		c.off++
		count := c.length(g, name)
		for i := 0; i < count && c.ok(); i++ {
			c.value(g, "element "+strconv.Itoa(i+1), depth+1)
		}
		explain(g)
	})
}

// show writes a value into its node.
func (c *cursor) show(n *Node, d dlms.Data) {
	n.Type = d.Tag().String()
	if c.secret {
		n.Value = "not shown"
		return
	}
	n.data, n.hasData = d, true
	n.Value = text(d)
	switch d.Tag() {
	case dlms.TagInt8, dlms.TagInt16, dlms.TagInt32, dlms.TagInt64, dlms.TagUint8, dlms.TagUint16, dlms.TagUint32, dlms.TagUint64, dlms.TagEnum:
		n.Number = n.Value
	case dlms.TagOctetString:
		n.Value, n.Note = octetText(d)
	}
}

// expand hangs the elements of a compact array under it. They have no bytes of their own.
func (c *cursor) expand(n *Node, d dlms.Data) {
	x, err := d.Expand()
	if err != nil {
		n.Error = plain(err)
		return
	}
	inner := cursor{d: c.d, buf: c.buf, off: n.Offset, end: n.Offset}
	inner.elements(n, x)
}

func (c *cursor) elements(n *Node, list dlms.Data) {
	for i, e := range list.Elements() {
		if !c.ok() {
			return
		}
		child := c.add(n, "element "+strconv.Itoa(i+1), c.off, c.off)
		c.show(child, e)
		if e.Tag() == dlms.TagArray || e.Tag() == dlms.TagStructure {
			child.Value = ""
			c.elements(child, e)
		}
	}
	explain(n)
}

// text is a value without its type.
func text(d dlms.Data) string {
	if d.IsNull() || d.Tag() == dlms.TagDontCare {
		return ""
	}
	return strings.TrimPrefix(d.String(), d.Tag().String()+" ")
}

// octetText says what an octet string is likely to be: most names, times and texts of COSEM come as one.
func octetText(d dlms.Data) (value, note string) {
	const endOfName = 255 // value group F of nearly every logical name
	if o, err := d.LogicalName(); err == nil && (o[5] == endOfName || objectName(o) != "") {
		return o.String(), objectName(o)
	}
	if t, err := d.DateTime(); err == nil && t.Validate() == nil && plausible(t) {
		return t.String(), ""
	}
	if s := d.Text(); printable(s) {
		return strconv.Quote(s), ""
	}
	return text(d), ""
}

// plausible tells a time from twelve bytes that could pass for one.
func plausible(t dlms.DateTime) bool {
	const first, last = 1990, 2150
	y := t.Date().Year()
	return y == dlms.YearUnspecified || y >= first && y <= last
}

func printable(s string) bool {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return false
		}
	}
	return s != ""
}
