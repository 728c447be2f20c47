package drill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// echo answers every APDU with itself and one byte more.
func echo(_ context.Context, r link.Request) []byte { return append(bytes.Clone(r.APDU), 0xEE) }

func ask(t *testing.T, at string, client dlms.SAP, b []byte) []byte {
	t.Helper()
	c := must(wrapper.Dial(context.Background(), at, client, 1))
	defer func() { _ = c.Close() }()
	if err := c.Send(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(must(c.Receive(context.Background())))
}

func TestATapPassesEverythingOnAndRecordsEveryFrameInOrder(t *testing.T) {
	tp := tap(t, serve(t, echo), nil)
	for i := range byte(3) {
		if got := ask(t, tp.Addr(), 32, []byte{0xC0, i}); !bytes.Equal(got, []byte{0xC0, i, 0xEE}) {
			t.Errorf("want the answer of the meter, got %X", got)
		}
	}
	frames := tp.Frames()
	if len(frames) != 6 {
		t.Fatalf("want 6 frames, got %d", len(frames))
	}
	for i, f := range frames {
		if f.ToMeter != (i%2 == 0) || f.Client != 32 || f.Server != 1 || f.APDU[1] != byte(i/2) || f.Time.IsZero() {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	if to, from := tp.Bytes(); to != 3*10 || from != 3*11 {
		t.Errorf("want 30 and 33 bytes, got %d and %d", to, from)
	}
}

func TestARecordingSurvivesARestartAndALineThatWasCut(t *testing.T) {
	at := serve(t, echo)
	var record bytes.Buffer
	first := must(NewTap(context.Background(), at, &record))
	ask(t, first.Addr(), 32, []byte{0x60, 1})
	want := first.Frames()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	cut := `{"time":"2026-01-01T00:00:00Z","to_me`
	record.WriteString(cut)
	before := record.String()

	second := must(NewTap(context.Background(), at, &record))
	ask(t, second.Addr(), 64, []byte{0x60, 2})
	if err := second.Load(strings.NewReader(before)); err != nil {
		t.Fatal(err)
	}
	want = append(want, second.Frames()[2:]...)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := must(NewTap(context.Background(), at, nil))
	if err := errors.Join(third.Load(&record), third.Close()); err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][]Frame{"earlier and own": second.Frames(), "read back": third.Frames()} {
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); d != "" || len(got) != 4 {
			t.Errorf("%s: %d frames\n%s", what, len(got), d)
		}
	}
}

func TestATapPassesOnWhatIsNoFrame(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = ln.Close() }()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	tp := tap(t, ln.Addr().String(), nil)
	c := must(net.Dial("tcp", tp.Addr()))
	defer func() { _ = c.Close() }()
	noise := []byte("this is not the COSEM wrapper")
	if _, err := c.Write(noise); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(noise))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, noise) || len(tp.Frames()) != 0 {
		t.Errorf("got %q, %v, %d frames", got, err, len(tp.Frames()))
	}
}

func TestATapInFrontOfNothingEndsTheConnection(t *testing.T) {
	tp := tap(t, "127.0.0.1:1", nil)
	c := must(net.Dial("tcp", tp.Addr()))
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("want the end of the connection, got %v", err)
	}
}

// full takes no byte.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestARecordThatCannotBeWrittenIsToldAtTheEndAndDisturbsNoTraffic(t *testing.T) {
	tp := must(NewTap(context.Background(), serve(t, echo), full{}))
	ask(t, tp.Addr(), 32, []byte{0xC0})
	if err := tp.Close(); err == nil || len(tp.Frames()) != 2 {
		t.Errorf("want an error and 2 frames, got %v and %d", err, len(tp.Frames()))
	}
}
