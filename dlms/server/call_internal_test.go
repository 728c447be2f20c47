package server

import (
	"bytes"
	"testing"
)

// A session key may have been in the buffers of a call, and the next call is another device's.
func TestACallThatIsGivenBackHoldsNothing(t *testing.T) {
	k := NewKind(&Model{}, nil)
	c := k.take()
	c.server, c.index = new(Server), 7
	c.plain, c.answer = []byte("a session key"), bytes.Repeat([]byte{1}, maxKept+1)
	was := c.plain
	k.put(c)
	if !bytes.Equal(was, make([]byte, len(was))) {
		t.Error("the request in clear is still there")
	}
	if c.server != nil || c.index != 0 || len(c.plain) != 0 || cap(c.plain) < len(was) {
		t.Errorf("the call holds something: %d bytes", len(c.plain))
	}
	if c.answer != nil {
		t.Error("a long buffer was kept")
	}
}
