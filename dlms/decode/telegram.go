package decode

import (
	"bytes"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
)

// isTelegram reports whether b is the text of a customer interface, as some grids push it inside
// general-glo-ciphering instead of an APDU (DSMR P1 as Luxembourg ciphers it): it begins with a slash, and a line
// that begins with an exclamation mark ends it.
func isTelegram(b []byte) bool {
	if len(b) == 0 || b[0] != '/' || !bytes.Contains(b, []byte("\r\n!")) {
		return false
	}
	for _, o := range b {
		if o < ' ' && o != '\r' && o != '\n' || o > '~' {
			return false
		}
	}
	return true
}

// telegram hangs a node under n for every line that is not empty.
func (c *cursor) telegram(n *Node) {
	c.group(n, "p1-telegram", func(g *Node) {
		for c.ok() && c.left() > 0 {
			size := c.left()
			if i := bytes.IndexByte(c.buf[c.off:c.end], '\n'); i >= 0 {
				size = i + 1
			}
			line := bytes.TrimSpace(c.buf[c.off : c.off+size])
			if len(line) == 0 {
				c.off += size
				continue
			}
			child := c.take(g, "line", size)
			child.Value = strconv.Quote(string(line))
			if name, _, ok := bytes.Cut(line, []byte("(")); ok {
				if o, err := dlms.ParseOBIS(string(name) + "*255"); err == nil {
					child.Name = o.String()
					child.Value = string(line[len(name):])
					child.Note = objectName(o)
				}
			}
		}
	})
}
