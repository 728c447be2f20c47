package durable

import (
	"bytes"
	"testing"
)

func FuzzParseLines(f *testing.F) {
	f.Add(framed(framed(nil, []byte("one")), nil))
	f.Add([]byte("00000000 \n"))
	f.Add([]byte("0000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, size, err := parse(b)
		if err != nil {
			return
		}
		var again []byte
		for _, c := range content {
			again = framed(again, c)
		}
		if !bytes.Equal(again, b[:size]) || bytes.IndexByte(b[size:], '\n') >= 0 {
			t.Errorf("%q: %q of %d bytes", b, content, size)
		}
	})
}
