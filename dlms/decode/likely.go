package decode

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// likelihood says how much b looks like what was encrypted: 0 not at all, 1 its first byte is an APDU's, 2 it is an
// APDU. It stands in for authentication where there is none, to choose between keys, and proves nothing.
func likelihood(b []byte, plain apdu.Tag) int {
	if plain == 0 && isTelegram(b) {
		return 2
	}
	if len(b) == 0 || !known(b[0]) || plain != 0 && apdu.Tag(b[0]) != plain {
		return 0
	}
	d := &decoder{budget: DefaultMaxNodes, blocks: map[string]*assembly{}}
	root := new(Node)
	c := cursor{d: d, buf: b, end: len(b), depth: maxDepth - 1}
	if c.only(root); root.FirstError() == nil {
		return 2
	}
	return 1
}

// oneData reports whether b is one value and nothing else.
func oneData(b []byte) bool {
	_, rest, err := dlms.ParseData(b)
	return err == nil && len(rest) == 0
}
