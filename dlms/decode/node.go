package decode

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/meterseal/meterseal/dlms"
)

// Node is one part of what was decoded.
type Node struct {
	// Name says what it is, in the standard's words: "invoke-id-and-priority".
	Name string
	// Type is the A-XDR type of a value: "double-long-unsigned". Empty for all else.
	Type string
	// Value is the value in words, empty for a node that only holds others.
	Value string
	// Number is Value as an exact decimal number, empty for what is none.
	Number string
	// Note adds what is not in the bytes themselves: the name of an object, how far something can be trusted.
	Note string
	// Error says what is wrong with these bytes, empty if nothing is.
	Error string
	// Offset and Size are the range of bytes: in the buffer of the nearest node above that has one, else in the input.
	Offset, Size int
	// Bytes are the bytes of a node without children. They alias the input or a buffer. Nil where Secret.
	Bytes []byte
	// Buffer is set on a node whose children are not ranges of the input: what was deciphered, or put together from
	// several frames. It holds every byte, keys too: String, WriteText and MarshalJSON do not show those.
	Buffer []byte
	// Secret says that a key or a password stands here.
	Secret bool
	// Children are the parts in order.
	Children []*Node

	data    dlms.Data // the value, for the nodes around it
	hasData bool
}

// Walk calls f for n and every node below it, parents first, until f returns false.
func (n *Node) Walk(f func(*Node) bool) bool {
	if !f(n) {
		return false
	}
	for _, c := range n.Children {
		if !c.Walk(f) {
			return false
		}
	}
	return true
}

// Find returns the first node of that name, n itself included, or nil.
func (n *Node) Find(name string) (found *Node) {
	n.Walk(func(c *Node) bool {
		if c.Name == name {
			found = c
		}
		return found == nil
	})
	return found
}

// FirstError returns the first node with an error, or nil.
func (n *Node) FirstError() (found *Node) {
	n.Walk(func(c *Node) bool {
		if c.Error != "" {
			found = c
		}
		return found == nil
	})
	return found
}

// masked returns the node's buffer in hexadecimal, with ** in the place of every byte of a secret.
func (n *Node) masked() string {
	if n.Buffer == nil {
		return ""
	}
	text := []byte(strings.ToUpper(hex.EncodeToString(n.Buffer)))
	for _, c := range n.Children {
		c.mask(text)
	}
	return string(text)
}

// mask hides what is secret of n in the hexadecimal text of the buffer around it.
func (n *Node) mask(text []byte) {
	if n.Secret {
		for i := 2 * n.Offset; i < 2*(n.Offset+n.Size) && i < len(text); i++ {
			text[i] = '*'
		}
	}
	if n.Buffer != nil {
		return
	}
	for _, c := range n.Children {
		c.mask(text)
	}
}

// MarshalJSON writes the node with its children. Bytes and buffers are in hexadecimal; what is empty is left out.
func (n *Node) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name     string          `json:"name"`
		Type     string          `json:"type,omitempty"`
		Value    string          `json:"value,omitempty"`
		Number   json.RawMessage `json:"number,omitempty"`
		Note     string          `json:"note,omitempty"`
		Error    string          `json:"error,omitempty"`
		Offset   int             `json:"offset"`
		Size     int             `json:"size"`
		Hex      string          `json:"hex,omitempty"`
		Buffer   string          `json:"buffer,omitempty"`
		Secret   bool            `json:"secret,omitempty"`
		Children []*Node         `json:"children,omitempty"`
	}{
		n.Name, n.Type, n.Value, json.RawMessage(n.Number), n.Note, n.Error, n.Offset, n.Size,
		n.hex(), n.masked(), n.Secret, n.Children,
	})
}

func (n *Node) hex() string {
	if n.Secret || len(n.Children) > 0 {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString(n.Bytes))
}
