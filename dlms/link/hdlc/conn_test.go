package hdlc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/internal/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h link.Handler, o hdlc.Options) (address string, stop func()) {
	t.Helper()
	return linktest.Serve(t, func(ctx context.Context, ln net.Listener) error { return hdlc.Serve(ctx, ln, h, o) })
}

func dial(t *testing.T, address string, c hdlc.Config) *hdlc.Conn {
	t.Helper()
	conn, err := hdlc.Dial(t.Context(), address, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func ask(t *testing.T, c link.Conn, apdu []byte) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Send(ctx, apdu); err != nil {
		t.Fatal(err)
	}
	b, err := c.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantEcho(t *testing.T, c link.Conn, client, server byte, n int) {
	t.Helper()
	apdu := pattern(n)
	if got := ask(t, c, apdu); !bytes.Equal(got, append([]byte{client, server}, apdu...)) {
		t.Errorf("got %d bytes, want the %d sent and the addresses", len(got), n)
	}
}

var wide = hdlc.Params{TransmitInfo: 512, ReceiveInfo: 512, TransmitWindow: 3, ReceiveWindow: 3}

func TestServeAnswersOverTCP(t *testing.T) {
	h := &linktest.Echo{}
	address, stop := serve(t, h, hdlc.Options{ServerConfig: hdlc.ServerConfig{Params: wide, Physical: 17}})
	c := dial(t, address, hdlc.Config{Client: 32, Server: 1, Physical: 17, Params: wide})
	for _, n := range []int{0, 1, 1000, 10_000} {
		wantEcho(t, c, 32, 1, n)
	}
	if err := c.Send(t.Context(), []byte(linktest.NoAnswer)); err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, 32, 1, 3)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	h.WantGone(t, 32)
}

func TestServeKeepsConnectionsApartWhenOneSendsGarbageAndSpoofs(t *testing.T) {
	h := &linktest.Echo{}
	address, _ := serve(t, h, hdlc.Options{})
	good := dial(t, address, hdlc.Config{Client: 32, Server: 1})
	wantEcho(t, good, 32, 1, 10)
	stranger, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	f := fromClient(0x53, "") // DISC in the name of client 32
	f.Source = hdlc.ClientAddress(32)
	if _, err := stranger.Write(append(bytes.Repeat([]byte{0x7E, 0xA7, 0xFF, 3}, 1000), mustAppend(t, f)...)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stranger, make([]byte, 9)); err != nil { // the answer DM
		t.Fatal(err)
	}
	wantEcho(t, good, 32, 1, 10)
	h.WantGone(t)
}

func TestServeClosesAStreamWithoutFrames(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, hdlc.Options{IdleTimeout: 50 * time.Millisecond})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for range 1000 {
		if _, err := c.Write([]byte{0x7E, 0xFF}); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("the server took 5 s of noise")
}

func TestServeStopsWhileAHandlerWorksAndSendsItsAnswer(t *testing.T) {
	h := &linktest.Echo{Delay: time.Hour} // until the context ends
	address, stop := serve(t, h, hdlc.Options{})
	c := dial(t, address, hdlc.Config{Client: 16, Server: 1, ResponseTimeout: time.Minute})
	got := make(chan []byte)
	go func() {
		_ = c.Send(context.Background(), []byte("x"))
		b, _ := c.Receive(context.Background())
		got <- b
	}()
	for working := false; !working; time.Sleep(time.Millisecond) {
		working = h.Calls() > 0
	}
	stop()
	if b := <-got; string(b) != "\x10\x01x" {
		t.Errorf("got %q", b)
	}
	h.WantGone(t, 16)
}

func TestServeRefusesWrongOptions(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if err := hdlc.Serve(t.Context(), ln, &linktest.Echo{}, hdlc.Options{ServerConfig: hdlc.ServerConfig{Physical: 0x4000}}); err == nil {
		t.Error("want an error")
	}
}

// virtual runs a test on virtual time with a client and a server joined by an in-memory stream.
func virtual(t *testing.T, h *linktest.Echo, c hdlc.Config, test func(t *testing.T, c *hdlc.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- hdlc.ServeConn(context.Background(), b, h, hdlc.Options{}) }()
		conn, err := hdlc.NewConn(a, c)
		if err != nil {
			t.Fatal(err)
		}
		test(t, conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func TestAConnWaitsForASlowHandler(t *testing.T) {
	h := &linktest.Echo{Delay: time.Minute}
	virtual(t, h, hdlc.Config{Client: 16, Server: 1}, func(t *testing.T, c *hdlc.Conn) {
		before := time.Now()
		ctx := context.Background()
		if err := c.Send(ctx, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Receive(ctx); err != nil || string(b) != "\x10\x01x" {
			t.Fatalf("got %q, %v", b, err)
		}
		if took := time.Since(before); took < time.Minute || took > time.Minute+time.Second || h.Calls() != 1 {
			t.Errorf("took %v and %d calls", took, h.Calls())
		}
	})
}

func TestAConnGoesOnAfterAContextEndedWithinACall(t *testing.T) {
	h := &linktest.Echo{Delay: 10 * time.Second}
	virtual(t, h, hdlc.Config{Client: 16, Server: 1}, func(t *testing.T, c *hdlc.Conn) {
		for _, wait := range []time.Duration{time.Second, 6 * time.Second} {
			short, cancel := context.WithTimeout(context.Background(), wait)
			err := c.Send(short, []byte("given up"))
			if err == nil {
				_, err = c.Receive(short)
			}
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		}
		if err := c.Send(context.Background(), []byte("again")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"given up", "given up", "again"} { // the late answers come first
			if b, err := c.Receive(context.Background()); err != nil || string(b) != "\x10\x01"+want {
				t.Errorf("got %q, %v, want %q", b, err, want)
			}
		}
	})
}

func TestAConnConnectsAgainAfterTheServerDroppedTheLink(t *testing.T) {
	h := &linktest.Echo{}
	virtual(t, h, hdlc.Config{Client: 16, Server: 1}, func(t *testing.T, c *hdlc.Conn) {
		wantEcho(t, c, 16, 1, 10)
		time.Sleep(3 * time.Minute) // longer than the inactivity timeout
		synctest.Wait()
		h.WantGone(t, 16)
		if err := c.Send(context.Background(), []byte("x")); !errors.Is(err, hdlc.ErrDropped) {
			t.Fatalf("got %v", err)
		}
		if _, err := c.Receive(context.Background()); !errors.Is(err, hdlc.ErrDropped) {
			t.Fatalf("got %v", err)
		}
		wantEcho(t, c, 16, 1, 10)
	})
}

func TestABroadcastConnSendsUIFramesOnly(t *testing.T) {
	h := &linktest.Echo{}
	virtual(t, h, hdlc.Config{Client: 48, Server: dlms.SAPAllStations}, func(t *testing.T, c *hdlc.Conn) {
		for range 3 {
			if err := c.Send(context.Background(), []byte("to all")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if h.Calls() != 3 {
			t.Errorf("got %d calls", h.Calls())
		}
		short, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if b, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %q, %v, want silence", b, err)
		}
	})
}

func TestCloseEndsACallUnderWayAndSaysDISC(t *testing.T) {
	h := &linktest.Echo{Delay: time.Hour}
	virtual(t, h, hdlc.Config{Client: 16, Server: 1}, func(t *testing.T, c *hdlc.Conn) {
		if err := c.Connect(context.Background()); err != nil {
			t.Fatal(err)
		}
		received := make(chan error)
		go func() {
			_, err := c.Receive(context.Background())
			received <- err
		}()
		synctest.Wait()
		before := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-received; !errors.Is(err, link.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := c.Send(context.Background(), nil); !errors.Is(err, link.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(before); took > time.Second {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		h.WantGone(t, 16)
	})
}

func TestAConnSaysWhenTheStreamEnds(t *testing.T) {
	a, b := net.Pipe()
	c, err := hdlc.NewConn(a, hdlc.Config{Client: 16, Server: 1})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = b.Read(make([]byte, 100))
		_ = b.Close()
	}()
	if err := c.Connect(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// deaf is a stream that takes no writes until it is closed.
type deaf struct{ closed chan struct{} }

func (d deaf) Read([]byte) (int, error)  { <-d.closed; return 0, io.EOF }
func (d deaf) Write([]byte) (int, error) { <-d.closed; return 0, io.ErrClosedPipe }
func (d deaf) Close() error              { close(d.closed); return nil }

func TestCloseEndsACallThatIsStuckInAWrite(t *testing.T) {
	c, err := hdlc.NewConn(deaf{make(chan struct{})}, hdlc.Config{Client: 16, Server: 1, ResponseTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.Send(context.Background(), []byte("x")) }()
	time.Sleep(10 * time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for what, done := range map[string]chan error{"close": closed, "send": sent} {
		select {
		case err := <-done:
			if what == "send" && err == nil {
				t.Error("sent")
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s hangs", what)
		}
	}
}
