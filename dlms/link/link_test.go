package link_test

import (
	"context"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
)

type curious struct {
	link.HandlerFunc
	gone []dlms.SAP
}

func (c *curious) Disconnected(client dlms.SAP) { c.gone = append(c.gone, client) }

func TestDisconnectedReachesAHandlerThatWantsToKnow(t *testing.T) {
	h := &curious{HandlerFunc: func(context.Context, link.Request) []byte { return nil }}
	link.Disconnected(h, 32)
	link.Disconnected(h.HandlerFunc, 48) // does not want to know
	if len(h.gone) != 1 || h.gone[0] != 32 {
		t.Errorf("got %v", h.gone)
	}
}

func TestAHandlerFuncIsAHandler(t *testing.T) {
	var h link.Handler = link.HandlerFunc(func(_ context.Context, r link.Request) []byte { return r.APDU[1:] })
	if got := h.HandleAPDU(t.Context(), link.Request{APDU: []byte("abc")}); string(got) != "bc" {
		t.Errorf("got %q", got)
	}
}
