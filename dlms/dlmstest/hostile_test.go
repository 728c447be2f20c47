package dlmstest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/link"
)

func TestHostileMiddleFollowsItsScript(t *testing.T) {
	for name, c := range map[string]struct {
		script dlmstest.Script
		want   string
	}{
		"pass":     {nil, "a b c d"},
		"drop":     {dlmstest.On(dlmstest.ToServer, 1, dlmstest.Drop), "a c d"},
		"cut":      {dlmstest.From(dlmstest.ToServer, 2, dlmstest.Drop), "a b"},
		"repeat":   {dlmstest.On(dlmstest.ToServer, 1, dlmstest.Repeat), "a b b c d"},
		"alter":    {dlmstest.On(dlmstest.ToServer, 0, dlmstest.Alter(6)), "c b c d"},
		"truncate": {dlmstest.On(dlmstest.ToServer, 0, dlmstest.Truncate(0)), " b c d"},
		"replace":  {dlmstest.On(dlmstest.ToServer, 3, dlmstest.Replace([]byte("z"))), "a b c z"},
		"reorder":  {dlmstest.Reorder(dlmstest.ToServer, 1), "a c b d"},
		"replay":   {dlmstest.Replay(dlmstest.ToServer, 3, 0), "a b c a d"},
		"delay":    {dlmstest.On(dlmstest.ToServer, 1, dlmstest.Delay(time.Hour)), "a c d b"},
		"pipe": {dlmstest.Pipe(
			dlmstest.On(dlmstest.ToServer, 0, dlmstest.Drop),
			dlmstest.On(dlmstest.ToServer, 1, dlmstest.Repeat)), "b b c d"},
		"other way": {dlmstest.On(dlmstest.ToClient, 1, dlmstest.Drop), "a b c d"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := dlmstest.NewHostile(c.script)
				defer closeLink(t, h)
				send(t, h.Client(), "a", "b", "c", "d")
				if got := receiveAll(t, h.Server()); got != c.want {
					t.Errorf("want %q, got %q", c.want, got)
				}
			})
		})
	}
}

func TestHostileKeepsARecordAndInjects(t *testing.T) {
	h := dlmstest.NewHostile(dlmstest.Drop)
	defer closeLink(t, h)
	send(t, h.Client(), "a")
	send(t, h.Server(), "b")
	sent := h.Sent()
	if len(sent) != 2 || sent[0].Dir != dlmstest.ToServer || string(sent[1].APDU) != "b" || sent[1].N != 0 {
		t.Fatalf("record: got %+v", sent)
	}
	if err := h.Inject(dlmstest.ToServer, sent[0].APDU); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Server().Receive(t.Context()); err != nil || string(got) != "a" {
		t.Errorf("want a, got %q, %v", got, err)
	}
}

func TestHostileServesAHandler(t *testing.T) {
	defer goleak.VerifyNone(t)
	h := dlmstest.NewHostile(nil)
	served := make(chan error)
	go func() {
		served <- h.Serve(t.Context(), link.HandlerFunc(func(_ context.Context, r link.Request) []byte {
			if string(r.APDU) == "quiet" {
				return nil
			}
			return append([]byte(r.Client.String()+" said "), r.APDU...)
		}), 16, dlms.SAPManagement)
	}()
	send(t, h.Client(), "quiet", "hello")
	if got, err := h.Client().Receive(t.Context()); err != nil || string(got) != "16 said hello" {
		t.Errorf("got %q, %v", got, err)
	}
	closeLink(t, h)
	if err := <-served; !errors.Is(err, link.ErrClosed) {
		t.Errorf("serve: want closed, got %v", err)
	}
}

func TestHostileEndsStopAtCloseAndAtContext(t *testing.T) {
	h := dlmstest.NewHostile(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Client().Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("receive: want canceled, got %v", err)
	}
	closeLink(t, h)
	if _, err := h.Client().Receive(t.Context()); !errors.Is(err, link.ErrClosed) {
		t.Errorf("receive: want closed, got %v", err)
	}
	if err := h.Server().Send(t.Context(), nil); !errors.Is(err, link.ErrClosed) {
		t.Errorf("send: want closed, got %v", err)
	}
}

func TestHostileRefusesToQueueWithoutEnd(t *testing.T) {
	h := dlmstest.NewHostile(nil)
	defer closeLink(t, h)
	for range 10_000 {
		if err := h.Client().Send(t.Context(), []byte("x")); err != nil {
			if !errors.Is(err, dlmstest.ErrQueueFull) {
				t.Errorf("want queue full, got %v", err)
			}
			return
		}
	}
	t.Error("the queue has no end")
}

func TestSeededMiddleRepeatsItself(t *testing.T) {
	chances := dlmstest.Chances{
		Drop: 0.15, Repeat: 0.15, Alter: 0.15, Delay: 0.15, Reorder: 0.1, Replay: 0.1, MaxDelay: time.Second,
	}
	run := func(seed uint64) (out []string) {
		s := dlmstest.Seeded(seed, chances)
		for i := range 500 {
			for _, f := range s(dlmstest.Frame{N: i, APDU: []byte{byte(i), byte(i >> 8)}}) {
				out = append(out, string(f.APDU)+f.After.String())
			}
		}
		return out
	}
	if !slices.Equal(run(1), run(1)) {
		t.Error("one seed, two courses")
	}
	if slices.Equal(run(1), run(2)) {
		t.Error("two seeds, one course")
	}
	if n := len(run(1)); n < 300 || n > 700 {
		t.Errorf("500 frames sent, %d delivered", n)
	}
}

func send(t *testing.T, c link.Conn, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if err := c.Send(t.Context(), []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
}

// receiveAll receives until nothing came for a day of virtual time.
func receiveAll(t *testing.T, c link.Conn) string {
	t.Helper()
	var got []string
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		apdu, err := c.Receive(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return strings.Join(got, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(apdu))
	}
}

func closeLink(t *testing.T, h *dlmstest.Hostile) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
