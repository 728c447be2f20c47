package decode

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/mbus"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// Bounds on what is made of an input (ours).
const (
	// DefaultMaxNodes is how many nodes a tree has where Options name no limit.
	DefaultMaxNodes = 1 << 16

	maxDepth = 6 // buffers in buffers: a link's segments, blocks, two ciphered layers, blocks again
)

// Keys are the keys of one meter, or of one end in general. Every field may be unset.
type Keys struct {
	// Title and Peer are the system titles of the two ends, in either order. They serve APDUs that name no originator,
	// glo- and ded-, and name the keys in notes.
	Title, Peer dlms.SystemTitle
	// Unicast and Broadcast are the global encryption keys.
	Unicast, Broadcast key.Unicast
	// Dedicated is the session key, where it is known otherwise than by the InitiateRequest.
	Dedicated key.Dedicated
	// Authentication is the authentication key.
	Authentication key.Authentication
	// Master unwraps the key that comes along in general-ciphering.
	Master key.Master
}

// Options say how to decode.
type Options struct {
	// Keys are tried one after the other: it does no harm to give those of several meters.
	Keys []Keys
	// MaxNodes bounds the tree; 0 means DefaultMaxNodes.
	MaxNodes int
}

// Decode shows b, which may hold several frames or APDUs, one behind the other. It never fails: what cannot be
// understood is a node with an error; see [Node.FirstError].
func Decode(b []byte, o Options) *Node {
	d := &decoder{keys: o.Keys, budget: o.MaxNodes, blocks: map[string]*assembly{}, mbus: map[string]*mbus.Assembler{}}
	if d.budget <= 0 {
		d.budget = DefaultMaxNodes
	}
	root := &Node{Name: "input", Size: len(b)}
	c := cursor{d: d, buf: b, end: len(b)}
	for c.off < c.end && !d.full {
		d.one(&c, root)
	}
	if len(b) == 0 {
		root.Error = "no bytes"
	}
	d.unfinished(root)
	return root
}

// decoder is what is remembered from one frame or APDU of the input to the next.
type decoder struct {
	keys   []Keys
	budget int
	full   bool
	blocks map[string]*assembly
	mbus   map[string]*mbus.Assembler
	// What the input told: session keys, and the titles of clients and servers.
	sessions        []key.Dedicated
	clients, meters []dlms.SystemTitle
	asked           map[string][]dlms.AttributeRef
}

// one decodes what begins at c, and moves c at least one byte.
func (d *decoder) one(c *cursor, root *Node) {
	rest := c.buf[c.off:]
	switch {
	case hdlcBegins(rest):
		c.hdlcFrame(root)
	case mbusBegins(rest):
		c.mbusFrame(root)
	case wrapperBegins(rest):
		c.wrapperFrame(root)
	case llcSize(rest) > 0 || known(rest[0]):
		c.bare(root)
	default:
		c.noise(root)
	}
}

// bare decodes an APDU without a link. One behind another that does not hold is taken for what it rather is: bytes
// that trail.
func (c *cursor) bare(root *Node) {
	first := c.off == 0
	from := c.off
	count := len(root.Children)
	c.llc(root)
	c.apdu(root)
	if !first && !c.d.full && count < len(root.Children) && (&Node{Children: root.Children[count:]}).FirstError() != nil {
		if prior := root.Children[count-1]; prior.Error == "" && known(c.buf[prior.Offset]) {
			root.Children = root.Children[:count]
			c.off, c.bad = from, false
			c.finish(root)
		}
	}
	c.bad = false
}

// noise passes over bytes in which nothing begins, up to the next whole frame.
func (c *cursor) noise(root *Node) {
	end := c.off + 1
	for end < c.end && !frameAt(c.buf[end:]) {
		end++
	}
	child := c.add(root, "unknown bytes", c.off, end)
	if child.Error == "" {
		child.Error = "no frame and no apdu that is known begins here"
	}
	c.off = end
}

// frameAt reports whether a whole and undamaged frame begins at b: with a check sum, or with the header of the
// wrapper and an APDU that is known.
func frameAt(b []byte) bool {
	if size := hdlcSize(b); size > 0 {
		return hdlcSound(b[:size])
	}
	if wrapperBegins(b) && len(b) > wrapper.HeaderSize {
		return int(b[6])<<8|int(b[7]) <= len(b)-wrapper.HeaderSize && known(b[wrapper.HeaderSize])
	}
	size := mbusSize(b)
	return size > 1 && mbusSound(b[:size])
}

// known reports whether an APDU begins with this byte.
func known(b byte) bool {
	t := apdu.Tag(b)
	switch t {
	case apdu.TagInitiateRequest, apdu.TagInitiateResponse, apdu.TagConfirmedServiceError, apdu.TagDataNotification,
		apdu.TagAARQ, apdu.TagAARE, apdu.TagRLRQ, apdu.TagRLRE, apdu.TagExceptionResponse,
		apdu.TagGetRequest, apdu.TagSetRequest, apdu.TagEventNotification, apdu.TagActionRequest,
		apdu.TagGetResponse, apdu.TagSetResponse, apdu.TagActionResponse,
		apdu.TagAccessRequest, apdu.TagAccessResponse, apdu.TagGeneralBlockTransfer,
		apdu.TagGeneralGlo, apdu.TagGeneralDed, apdu.TagGeneralCiphering, apdu.TagGeneralSigning:
		return true
	}
	return t.IsCiphered()
}
