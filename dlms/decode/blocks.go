package decode

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// assembly is what has come of something that is sent in parts.
type assembly struct {
	parts  int
	next   uint64
	data   []byte
	secret bool
}

// join adds a part, and returns the whole with its last one. A first part begins anew. why says what does not fit.
func (d *decoder) join(link string, number, first uint64, last bool, part []byte) (whole *assembly, why string) {
	a := d.blocks[link]
	if number == first {
		a = &assembly{next: first}
		d.blocks[link] = a
	}
	if a == nil {
		return nil, "the blocks before this one are not here"
	}
	if number != a.next {
		delete(d.blocks, link)
		return nil, fmt.Sprintf("does not follow the block before: want number %d", a.next)
	}
	a.parts++
	a.next++
	a.data = append(a.data, part...)
	if !last {
		return nil, ""
	}
	delete(d.blocks, link)
	return a, ""
}

// unfinished says what was begun and did not end with the input.
func (d *decoder) unfinished(root *Node) {
	count := len(d.blocks)
	for _, a := range d.mbus {
		if a.Pending() {
			count++
		}
	}
	if count > 0 && root.Note == "" {
		root.Note = "the input ends before the last of the blocks or segments: " + strconv.Itoa(count) + " begun"
	}
}

func (c *cursor) way(what string) string { return what + " " + strconv.Itoa(c.depth) + " " + c.link }

// blockTransfer reads general-block-transfer (GB 9.3.13) and, with the last block, the APDU that the blocks are of.
func (c *cursor) blockTransfer(g *Node) {
	const lastBit, streaming, window = 0x80, 0x40, 0x3F
	v, n := c.uint(g, "block-control", 1)
	n.Number = ""
	n.Value = fmt.Sprintf("%s, streaming %s, window %d", either(v&lastBit != 0, "last block", "not last"), either(v&streaming != 0, "on", "off"), v&window)
	number, n := c.uint(g, "block-number", 2)
	c.uint(g, "block-number-ack", 2)
	p, data := c.octets(g, "block-data")
	if !c.ok() {
		return
	}
	data.Value = strconv.Itoa(len(p)) + " bytes"
	if len(p) == 0 && v&lastBit != 0 && number > 1 && c.d.blocks[c.way("general")] == nil {
		return // it only confirms
	}
	whole, why := c.d.join(c.way("general"), number, 1, v&lastBit != 0, p)
	n.Note = why
	if whole == nil {
		return
	}
	w, inner := c.derive(g, "apdu of "+strconv.Itoa(whole.parts)+" blocks", whole.data)
	inner.only(w)
}

// block reads DataBlock-G, which may end with a result, or DataBlock-SA, and with the last one what they hold. secret
// hides that, in this block and in those that follow it.
func (c *cursor) block(g *Node, what string, secret bool, content func(*cursor, *Node)) {
	last := c.boolean(g, "last-block")
	number, n := c.uint(g, "block-number", 4)
	if what == getBlocks && !c.rawData(g) || !c.ok() {
		return
	}
	way := c.way(what)
	if a := c.d.blocks[way]; a != nil && number != 1 {
		secret = secret || a.secret
	}
	var p []byte
	var raw *Node
	c.secretly(secret, func() { p, raw = c.octets(g, "raw-data") })
	if !c.ok() {
		return
	}
	raw.Value = strconv.Itoa(len(p)) + " bytes"
	whole, why := c.d.join(way, number, 1, last, p)
	if a := c.d.blocks[way]; a != nil {
		a.secret = secret
	}
	if n.Note = why; whole == nil {
		return
	}
	w, inner := c.derive(g, "content of "+strconv.Itoa(whole.parts)+" blocks", whole.data)
	inner.secret = c.secret || secret
	content(&inner, w)
	inner.finish(w)
}

// getBlocks names the blocks of a get-response, the only ones that may end with a result.
const getBlocks = "get-response"

// rawData reads the choice of a DataBlock-G, and the result where it is one; false means that no raw data follow.
func (c *cursor) rawData(g *Node) bool {
	v, choice := c.uint(g, "result", 1)
	choice.Number = ""
	switch choice.Value = either(v == 0, "raw-data", "data-access-result"); {
	case !c.ok():
		return false
	case v == 1:
		c.accessResult(g, "data-access-result")
		return false
	case v > 1:
		choice.Value, choice.Error = "", "want 0 or 1"
		c.bad = true
		c.rest(g)
		return false
	}
	return true
}

func oneValue(c *cursor, n *Node) { c.data(n, "value") }

func valueList(c *cursor, n *Node) {
	c.list(n, "value-list", func(l *Node, _ int) { c.data(l, "value") })
}

// gotten reads what the blocks of a get-response or action-response hold: one value, or a list of results. Which of
// the two it is only the request says; what fits is taken.
func (c *cursor) gotten(n *Node) {
	b := c.buf[c.off:c.end]
	if _, err := apdu.ParseGetResults(b); err == nil && !oneData(b) {
		c.list(n, "result", func(l *Node, i int) { c.getResult(l, c.recall(i)) })
		return
	}
	var secret bool
	if ref := c.recall(0); ref != nil {
		secret = secretAttribute(*ref)
	}
	c.secretly(secret, func() { c.data(n, "data") })
}
