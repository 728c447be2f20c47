package wrapper_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/linktest"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h link.Handler, o wrapper.Options) (address string, stop func()) {
	t.Helper()
	return linktest.Serve(t, func(ctx context.Context, ln net.Listener) error { return wrapper.Serve(ctx, ln, h, o) })
}

func dial(t *testing.T, address string, client, server dlms.SAP) *wrapper.Conn {
	t.Helper()
	c, err := wrapper.Dial(t.Context(), address, client, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, c link.Conn, apdu string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Send(ctx, []byte(apdu)); err != nil {
		t.Fatal(err)
	}
	b, err := c.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServeAnswersOverTCP(t *testing.T) {
	h := &linktest.Echo{}
	address, stop := serve(t, h, wrapper.Options{})
	c := dial(t, address, 16, 1)
	for range 3 {
		if got, want := ask(t, c, "abc"), "\x10\x01abc"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	h.WantGone(t, 16)
}

func TestServeKeepsConnectionsApartWhenOneSendsGarbage(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{})
	good := dial(t, address, 32, 1)
	ask(t, good, "before")
	bad, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bad.Close() }()
	if _, err := bad.Write(append(mustAppend(t, get), "garbage that is no frame"...)); err != nil {
		t.Fatal(err)
	}
	_ = bad.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := io.ReadAll(bad) // ends because the server closes
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the server left the connection open: %v", err)
	}
	if len(answer) != wrapper.HeaderSize+2+len(get.APDU) && err == nil {
		t.Errorf("got % X", answer)
	}
	if got := ask(t, good, "after"); got != "\x20\x01after" {
		t.Errorf("got %q", got)
	}
}

func TestServeClosesConnectionsAboveItsLimit(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{MaxConns: 1})
	first := dial(t, address, 16, 1)
	ask(t, first, "x")
	second := dial(t, address, 32, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := second.Receive(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a closed connection", err)
	}
	ask(t, first, "still there")
}

func TestServeClosesAConnectionThatDribblesPastTheIdleTimeout(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{IdleTimeout: 100 * time.Millisecond})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	in := mustAppend(t, wrapper.Frame{Source: 16, Destination: 1, APDU: make([]byte, 5000)})
	for i := range in {
		if _, err := c.Write(in[i : i+1]); err != nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error("the server took 10 s of dribble")
}

func TestServeDoesNotAnswerABroadcast(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{})
	c := dial(t, address, 48, dlms.SAPAllStations)
	if err := c.Send(t.Context(), []byte("all")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if b, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got % X %v, want silence", b, err)
	}
}

func TestServeStopsWhileAHandlerWorksAndSendsItsAnswer(t *testing.T) {
	started := make(chan struct{})
	h := link.HandlerFunc(func(ctx context.Context, _ link.Request) []byte {
		close(started)
		<-ctx.Done()
		return []byte("last")
	})
	address, stop := serve(t, h, wrapper.Options{})
	c := dial(t, address, 16, 1)
	if err := c.Send(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	<-started
	stop()
	if b, err := c.Receive(t.Context()); err != nil || string(b) != "last" {
		t.Errorf("got %q %v", b, err)
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := wrapper.Serve(t.Context(), ln, &linktest.Echo{}, wrapper.Options{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestServeRefusesTooManyClientAddressesOnOneConnection(t *testing.T) {
	address, _ := serve(t, &linktest.Echo{}, wrapper.Options{})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for i := range dlms.SAP(65) {
		_, _ = c.Write(mustAppend(t, wrapper.Frame{Source: i, Destination: 1, APDU: []byte(linktest.NoAnswer)})) // the server may close in between
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Read(make([]byte, 1))
	if ne := net.Error(nil); err == nil || errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("got %v, want a closed connection", err)
	}
}

func TestConnDropsFramesOfOthers(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	defer func() { _ = c.Close() }()
	in := mustAppend(t,
		wrapper.Frame{Source: 2, Destination: 16, APDU: []byte("other server")},
		wrapper.Frame{Source: 1, Destination: 17, APDU: []byte("other client")},
		wrapper.Frame{Source: 1, Destination: dlms.SAPAllStations, APDU: []byte("to all")},
		wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("mine")})
	go func() { _, _ = b.Write(in) }()
	for _, want := range []string{"to all", "mine"} {
		got, err := c.Receive(t.Context())
		if err != nil || string(got) != want {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
	}
}

func TestConnReceiveEndsWithItsContextAndGoesOnAfterwards(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	defer func() { _ = c.Close() }()
	in := mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("late")})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = b.Write(in[:9]) // the header and one byte of the APDU
		cancel()
	}()
	if _, err := c.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	go func() { _, _ = b.Write(in[9:]) }()
	got, err := c.Receive(t.Context())
	if err != nil || string(got) != "late" {
		t.Errorf("got %q %v", got, err)
	}
}

func TestConnSendCutWithinAFrameBreaksTheConnection(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = b.Read(make([]byte, 3)) // takes the beginning only
		cancel()
	}()
	if err := c.Send(ctx, []byte("cut")); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := c.Send(t.Context(), []byte("again")); !errors.Is(err, link.ErrBroken) {
		t.Errorf("got %v, want ErrBroken", err)
	}
}

func TestConnSendThatWroteNothingLeavesTheConnectionUsable(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Send(ctx, []byte("nobody reads")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	got := make([]byte, wrapper.HeaderSize+2)
	go func() { _, _ = io.ReadFull(b, got); _ = b.Close() }()
	if err := c.Send(t.Context(), []byte("ok")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
	if !bytes.HasSuffix(got, []byte("ok")) {
		t.Errorf("got % X", got)
	}
}

func TestConnIsBrokenAfterAFramingError(t *testing.T) {
	a, b := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	go func() { _, _ = b.Write([]byte{0x7E, 0xA0}) }()
	if _, err := c.Receive(t.Context()); !errors.Is(err, wrapper.ErrVersion) {
		t.Fatalf("got %v", err)
	}
	if _, err := c.Receive(t.Context()); !errors.Is(err, link.ErrBroken) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestConnIsClosedAfterClose(t *testing.T) {
	a, _ := net.Pipe()
	c := wrapper.NewConn(a, 16, 1)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Send(t.Context(), nil); !errors.Is(err, link.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Receive(t.Context()); !errors.Is(err, link.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// pipe is a stream without deadlines, as a serial port may be.
type pipe struct {
	io.Reader
	io.Writer
	io.Closer
}

func TestConnOnAStreamWithoutDeadlinesClosesItWhenTheContextEnds(t *testing.T) {
	r, w := io.Pipe()
	c := wrapper.NewConn(pipe{r, io.Discard, r}, 16, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := w.Write([]byte{0}); err == nil {
		t.Error("the stream is still open")
	}
}

// A context for each call, as a client has them: those of earlier calls end, and the stream goes on.
func TestConnOnAStreamWithoutDeadlinesOutlastsTheContextsOfEarlierCalls(t *testing.T) {
	r, w := io.Pipe()
	c := wrapper.NewConn(pipe{r, io.Discard, r}, 16, 1)
	defer func() { _ = c.Close() }()
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Send(ctx, []byte("q")); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = w.Write(mustAppend(t, wrapper.Frame{Source: 1, Destination: 16, APDU: []byte("a")})) }()
		if got, err := c.Receive(ctx); err != nil || string(got) != "a" {
			t.Fatalf("got %q, %v", got, err)
		}
		cancel()
		time.Sleep(5 * time.Millisecond) // whatever watches the context has run
	}
}

func TestServeUDPAnswersAndDropsWhatIsNoFrame(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wrapper.ServeUDP(ctx, pc, &linktest.Echo{}, wrapper.Options{MaxAPDU: 100}) }()
	raw, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{{0x7E}, append(mustAppend(t, get), 0), mustAppend(t, wrapper.Frame{Source: 16, Destination: 1, APDU: make([]byte, 101)})} {
		if _, err := raw.Write(bad); err != nil {
			t.Fatal(err)
		}
	}
	c := wrapper.NewUDPConn(raw, 16, 1)
	for range 3 {
		if got := ask(t, c, "abc"); got != "\x10\x01abc" {
			t.Errorf("got %q", got)
		}
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Send(t.Context(), []byte("x")); !errors.Is(err, link.ErrClosed) {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
