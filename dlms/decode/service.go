package decode

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// head reads the choice of a service and its invoke-id, and names the APDU by its choice.
func (c *cursor) head(g *Node, choices ...string) int {
	v, n := c.uint(g, "choice", 1)
	if !c.ok() {
		return 0
	}
	if v == 0 || int(v) > len(choices) {
		n.Error = fmt.Sprintf("want 1 to %d", len(choices))
		c.bad = true
		c.rest(g)
		return 0
	}
	n.Value, n.Number = choices[v-1], ""
	g.Value = n.Value
	c.invokeID(g)
	return int(v)
}

// rest hangs what is left under n, without a meaning.
func (c *cursor) rest(n *Node) {
	if c.left() > 0 {
		c.add(n, "not decoded", c.off, c.end)
		c.off = c.end
	}
}

func (c *cursor) invokeID(g *Node) {
	v, n := c.uint(g, "invoke-id-and-priority", 1)
	id := apdu.InvokeID(v)
	n.Number = ""
	n.Value = fmt.Sprintf("%d, %s, %s priority", id.ID(), either(id.Confirmed(), "confirmed", "unconfirmed"), either(id.HighPriority(), "high", "normal"))
}

func either(v bool, yes, no string) string {
	if v {
		return yes
	}
	return no
}

// descriptor reads class, logical name and the number of an attribute or method.
func (c *cursor) descriptor(n *Node, what string, words func(dlms.ClassID, dlms.OBIS, int8) string) (ref dlms.AttributeRef) {
	g := c.group(n, "cosem-"+what+"-descriptor", func(g *Node) {
		class, _ := c.uint(g, "class-id", 2)
		ref.Class = dlms.ClassID(class)
		name := c.take(g, "instance-id", len(ref.Instance))
		if len(name.Bytes) != len(ref.Instance) {
			return
		}
		copy(ref.Instance[:], name.Bytes)
		name.Value, name.Note = ref.Instance.String(), objectName(ref.Instance)
		v, id := c.uint(g, what+"-id", 1)
		ref.Attribute = int8(v)
		id.Value = fmt.Sprint(ref.Attribute)
		id.Number = id.Value
	})
	if c.ok() {
		g.Value = ref.String()
		g.Note = words(ref.Class, ref.Instance, ref.Attribute)
	}
	return ref
}

func (c *cursor) attribute(n *Node) dlms.AttributeRef {
	return c.descriptor(n, "attribute", attributeWords)
}

func (c *cursor) method(n *Node) dlms.MethodRef {
	r := c.descriptor(n, "method", methodWords)
	return dlms.MethodRef{Class: r.Class, Instance: r.Instance, Method: r.Attribute}
}

// selected reads an attribute descriptor with the selection that may follow it.
func (c *cursor) selected(n *Node) dlms.AttributeRef {
	ref := c.attribute(n)
	if !c.boolean(n, "access-selection") {
		return ref
	}
	v, sel := c.uint(n, "access-selector", 1)
	sel.Note = map[uint64]string{1: "by range", 2: "by entry"}[v]
	c.data(n, "access-parameters")
	return ref
}

// secretly reads with nothing shown where secret is set.
func (c *cursor) secretly(secret bool, read func()) {
	was := c.secret
	c.secret = was || secret
	read()
	c.secret = was
}

func (c *cursor) getRequest(g *Node) {
	var refs []dlms.AttributeRef
	switch c.head(g, "normal", "next", "with-list") {
	case 1:
		refs = append(refs, c.selected(g))
	case 2:
		c.uint(g, "block-number", 4)
		return
	case 3:
		c.list(g, "attribute-descriptor-list", func(l *Node, _ int) { refs = append(refs, c.selected(l)) })
	}
	if c.ok() {
		c.remember(refs)
	}
}

func (c *cursor) getResponse(g *Node) {
	switch c.head(g, "normal", "with-datablock", "with-list") {
	case 1:
		c.getResult(g, c.recall(0))
	case 2:
		ref := c.recall(0)
		c.block(g, getBlocks, ref != nil && secretAttribute(*ref), func(inner *cursor, n *Node) { inner.gotten(n) })
	case 3:
		c.list(g, "result", func(l *Node, i int) { c.getResult(l, c.recall(i)) })
	}
}

// getResult reads a Get-Data-Result; ref is what was asked for, where the request came before.
func (c *cursor) getResult(n *Node, ref *dlms.AttributeRef) {
	v, child := c.uint(n, "result", 1)
	switch {
	case !c.ok():
		return
	case v == 0:
		child.Value = "data"
	case v == 1:
		child.Value = "data-access-result"
	default:
		child.Error = "want 0 or 1"
		c.bad = true
		c.rest(n)
		return
	}
	child.Number = ""
	if v == 1 {
		c.accessResult(n, "data-access-result")
		return
	}
	c.secretly(ref != nil && secretAttribute(*ref), func() {
		d := c.data(n, "data")
		if ref != nil && d.Note == "" {
			d.Note = "of " + ref.String() + " " + attributeWords(ref.Class, ref.Instance, ref.Attribute)
		}
	})
}

func (c *cursor) accessResult(n *Node, name string) {
	v, child := c.uint(n, name, 1)
	child.Value, child.Number = dlms.DataAccessResult(v).String(), ""
}

func (c *cursor) setRequest(g *Node) {
	switch c.head(g, "normal", "with-first-datablock", "with-datablock", "with-list", "with-list-and-first-datablock") {
	case 1:
		ref := c.selected(g)
		c.secretly(secretAttribute(ref), func() { c.data(g, "value") })
	case 2:
		ref := c.selected(g)
		c.block(g, "set-request", secretAttribute(ref), oneValue)
	case 3:
		c.block(g, "set-request", false, oneValue)
	case 4:
		secret := false
		c.list(g, "attribute-descriptor-list", func(l *Node, _ int) { secret = secretAttribute(c.selected(l)) || secret })
		c.secretly(secret, func() { c.list(g, "value-list", func(l *Node, _ int) { c.data(l, "value") }) })
	case 5:
		secret := false
		c.list(g, "attribute-descriptor-list", func(l *Node, _ int) { secret = secretAttribute(c.selected(l)) || secret })
		c.block(g, "set-request", secret, valueList)
	}
}

func (c *cursor) setResponse(g *Node) {
	switch c.head(g, "normal", "datablock", "last-datablock", "last-datablock-with-list", "with-list") {
	case 1:
		c.accessResult(g, "result")
	case 2:
		c.uint(g, "block-number", 4)
	case 3:
		c.accessResult(g, "result")
		c.uint(g, "block-number", 4)
	case 4:
		c.list(g, "result", func(l *Node, _ int) { c.accessResult(l, "result") })
		c.uint(g, "block-number", 4)
	case 5:
		c.list(g, "result", func(l *Node, _ int) { c.accessResult(l, "result") })
	}
}

func (c *cursor) actionRequest(g *Node) {
	switch c.head(g, "normal", "next-pblock", "with-list", "with-first-pblock", "with-list-and-first-pblock", "with-pblock") {
	case 1:
		ref := c.method(g)
		if c.boolean(g, "method-invocation-parameters") {
			c.secretly(secretMethod(ref), func() { c.data(g, "parameters") })
		}
	case 2:
		c.uint(g, "block-number", 4)
	case 3:
		secret := false
		c.list(g, "method-descriptor-list", func(l *Node, _ int) { secret = secretMethod(c.method(l)) || secret })
		c.secretly(secret, func() { c.list(g, "parameters-list", func(l *Node, _ int) { c.data(l, "parameters") }) })
	case 4:
		ref := c.method(g)
		c.block(g, "action-request", secretMethod(ref), oneValue)
	case 5:
		secret := false
		c.list(g, "method-descriptor-list", func(l *Node, _ int) { secret = secretMethod(c.method(l)) || secret })
		c.block(g, "action-request", secret, valueList)
	case 6:
		c.block(g, "action-request", false, oneValue)
	}
}

func (c *cursor) actionResponse(g *Node) {
	switch c.head(g, "normal", "with-pblock", "with-list", "next-pblock") {
	case 1:
		c.lastOutcome(g)
	case 2:
		c.block(g, "action-response", false, func(inner *cursor, n *Node) { inner.gotten(n) })
	case 3:
		c.list(g, "responses", func(l *Node, _ int) { c.outcome(l) })
	case 4:
		c.uint(g, "block-number", 4)
	}
}

// lastOutcome renders an outcome with which the APDU ends. As package apdu does, it takes a refusal behind which some
// meters leave out that there are no return parameters.
func (c *cursor) lastOutcome(n *Node) {
	if result, ok := c.peek(); ok && c.left() == 1 && dlms.ActionResult(result) != dlms.ActionSuccess {
		c.actionResult(n)
		return
	}
	c.outcome(n)
}

func (c *cursor) actionResult(n *Node) {
	v, child := c.uint(n, "result", 1)
	child.Value, child.Number = dlms.ActionResult(v).String(), ""
}

func (c *cursor) outcome(n *Node) {
	c.actionResult(n)
	if c.boolean(n, "return-parameters") {
		c.getResult(n, nil)
	}
}

// remember keeps what a get-request asked for, so that the response can be explained.
func (c *cursor) remember(refs []dlms.AttributeRef) {
	if c.d.asked == nil {
		c.d.asked = map[string][]dlms.AttributeRef{}
	}
	c.d.asked["get"] = refs
}

// recall returns what the last get-request asked for in place i, nil where none came before.
func (c *cursor) recall(i int) *dlms.AttributeRef {
	refs := c.d.asked["get"]
	if i >= len(refs) {
		return nil
	}
	return &refs[i]
}
