package decode

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// shownBytes is how many bytes of a node the text shows.
const shownBytes = 16

// WriteText writes the tree for a person: a line for each node, with offset and size before it and its bytes behind
// it. Offsets below a node with a buffer count from the start of that buffer, and are marked with one ' for each
// buffer around them.
func (n *Node) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	writeText(b, n, 0, "")
	return b.Flush()
}

// String returns the tree as WriteText writes it.
func (n *Node) String() string {
	var s strings.Builder
	_ = n.WriteText(&s) // a Builder does not fail
	return s.String()
}

// writeText leaves errors to the Writer, which keeps the first one.
func writeText(w *bufio.Writer, n *Node, depth int, mark string) {
	_, _ = fmt.Fprintf(w, "%6s %5d  %s%s\n", fmt.Sprintf("%d%s", n.Offset, mark), n.Size, strings.Repeat("  ", depth), n.line())
	if n.Buffer != nil {
		mark += "'"
	}
	for _, c := range n.Children {
		writeText(w, c, depth+1, mark)
	}
}

func (n *Node) line() string {
	var s strings.Builder
	s.WriteString(n.Name)
	if n.Value != "" {
		s.WriteString(": " + n.Value)
	}
	if n.Type != "" {
		s.WriteString(" (" + n.Type + ")")
	}
	if n.Note != "" {
		s.WriteString(" -- " + n.Note)
	}
	if n.Error != "" {
		s.WriteString(" !! " + n.Error)
	}
	if len(n.Children) == 0 && len(n.Bytes) > 0 && !n.Secret {
		fmt.Fprintf(&s, "  [% X", n.Bytes[:min(len(n.Bytes), shownBytes)])
		if len(n.Bytes) > shownBytes {
			s.WriteString(" ...")
		}
		s.WriteString("]")
	}
	return s.String()
}
