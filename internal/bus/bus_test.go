package bus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
)

func TestAnOrderIsAnsweredByItsConcentratorAlone(t *testing.T) {
	one, key1 := newUser(t, 1)
	two, key2 := newUser(t, 2)
	w := newWorld(t, one, two)
	w.connect(w.config(one, key1), func(_ context.Context, o Order) Reply {
		if o.ID == "" || o.NotAfter.IsZero() || o.Status == nil {
			t.Errorf("order came as %+v", o)
		}
		return statusReply(1)
	})
	w.connect(w.config(two, key2), func(context.Context, Order) Reply { return statusReply(2) })
	for _, u := range []User{one, two} {
		r, err := w.is.Order(short(t), u.Title, statusOrder())
		if err != nil || r.Status == nil || r.Status.Spooled != int(u.Title[7]) {
			t.Errorf("order to %s: got %+v, %v", u.Title, r, err)
		}
	}
	if s := w.is.Stats(); s.BytesIn == 0 || s.BytesOut == 0 {
		t.Errorf("bytes: got %+v", s)
	}
}

func TestAnUpIsAcknowledgedAfterItWasTaken(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	var taken atomic.Bool
	fail := errors.New("disk full at /secret/place")
	if err := w.is.HandleUp(func(_ context.Context, from dlms.SystemTitle, up Up) error {
		if from != u.Title {
			t.Errorf("from: want %s, got %s", u.Title, from)
		}
		if up.Hello.Epoch == 2 {
			return fail
		}
		time.Sleep(50 * time.Millisecond)
		taken.Store(true)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c := w.connect(w.config(u, pair), nil)
	ack, err := c.SendUp(short(t), Up{Hello: &Hello{Epoch: 1}})
	if err != nil || !taken.Load() || ack.ID == "" {
		t.Fatalf("ack %+v, error %v, taken %v", ack, err, taken.Load())
	}
	_, err = c.SendUp(short(t), Up{Hello: &Hello{Epoch: 2}})
	var f *Fault
	if !errors.As(err, &f) || f.Code != FaultRefused {
		t.Fatalf("an up that the IS could not store: want refused, got %v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the IS's own error went out: %v", err)
	}
	if s := c.Stats(); s.BytesIn == 0 || s.BytesOut == 0 {
		t.Errorf("bytes: got %+v", s)
	}
}

func TestAnOrderToNobodyIsUnreachable(t *testing.T) {
	u, _ := newUser(t, 1)
	w := newWorld(t, u)
	_, err := w.is.Order(short(t), u.Title, statusOrder())
	wantFault(t, err, FaultUnreachable)
}

func TestAnOrderWithoutAnswerInTimeIsUnknown(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	w.connect(w.config(u, pair), func(ctx context.Context, _ Order) Reply {
		<-ctx.Done()
		time.Sleep(time.Second)
		return statusReply(0)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	_, err := w.is.Order(ctx, u.Title, statusOrder())
	wantFault(t, err, FaultUnknown)
}

func wantFault(t *testing.T, err error, code FaultCode) {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || f.Code != code {
		t.Fatalf("want fault %s, got %v", code, err)
	}
}

func TestAnOrderAfterItsDeadlineIsNotCarriedOut(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	cfg := w.config(u, pair)
	cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	w.connect(cfg, func(context.Context, Order) Reply {
		t.Error("carried out")
		return statusReply(0)
	})
	r, err := w.is.Order(short(t), u.Title, statusOrder())
	if err != nil || r.Fault == nil || r.Fault.Code != FaultExpired {
		t.Fatalf("want expired, got %+v, %v", r, err)
	}
}

func TestADuplicateOrderIsCarriedOutOnce(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	var runs atomic.Int32
	w.connect(w.config(u, pair), func(context.Context, Order) Reply {
		time.Sleep(50 * time.Millisecond)
		return statusReply(int(runs.Add(1)))
	})
	o := statusOrder()
	o.ID = "same"
	var wg sync.WaitGroup
	for range 4 { // at the same time
		wg.Go(func() {
			if r, err := w.is.Order(short(t), u.Title, o); err != nil || r.Status.Spooled != 1 {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if r, err := w.is.Order(short(t), u.Title, o); err != nil || r.Status.Spooled != 1 { // and after
		t.Errorf("got %+v, %v", r, err)
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("carried out %d times", n)
	}
}

func TestTheMemoryOfOrdersIsBounded(t *testing.T) {
	m := newMemory()
	big := make([]byte, 64<<10)
	for i := range 3 * memoryOrders {
		var r []byte
		if i%2 == 0 {
			r = big
		}
		if _, err := m.once(t.Context(), strings.Repeat("x", 8)+string(rune('A'+i)), func() []byte { return r }); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.known) > memoryOrders || len(m.known) != len(m.order) || m.bytes > memoryBytes {
		t.Errorf("%d orders known, %d in order, %d bytes", len(m.known), len(m.order), m.bytes)
	}
}

func TestAWrongCertificateAuthorityIsRefused(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	other := newWorld(t)
	cfg := w.config(u, pair)
	cfg.CAFile = other.ca()
	c, err := Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.eventually("it has tried", func() bool { return c.Stats().BytesOut > 0 })
	time.Sleep(300 * time.Millisecond)
	if c.Up() {
		t.Error("connected to a server under another authority")
	}
	if _, err := c.SendUp(short(t), Up{Hello: &Hello{}}); err == nil {
		t.Error("sent on a line that is down")
	}
}

func TestAnUnknownKeyIsRefusedUntilItIsEnrolled(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t)
	c, err := Connect(w.config(u, pair))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.Sleep(500 * time.Millisecond)
	if c.Up() {
		t.Fatal("a stranger is on the bus")
	}
	if err := w.server.AddUser(u); err != nil {
		t.Fatal(err)
	}
	w.eventually("the enrolled concentrator is on the bus", c.Up)
}

func TestEvictionCutsOneAndLeavesTheOthers(t *testing.T) {
	one, key1 := newUser(t, 1)
	two, key2 := newUser(t, 2)
	w := newWorld(t, one, two)
	answer := func(context.Context, Order) Reply { return statusReply(0) }
	c1 := w.connect(w.config(one, key1), answer)
	c2 := w.connect(w.config(two, key2), answer)
	before := c2.nc.Stats().Reconnects
	third, _ := newUser(t, 3)
	if err := errors.Join(w.server.RemoveUser(one.Title), w.server.AddUser(third)); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is cut", func() bool { return !c1.Up() })
	_, err := w.is.Order(short(t), one.Title, statusOrder())
	wantFault(t, err, FaultUnreachable)
	if _, err := w.is.Order(short(t), two.Title, statusOrder()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if c1.Up() {
		t.Error("the evicted one came back")
	}
	if n := c2.nc.Stats().Reconnects; n != before {
		t.Errorf("the other was cut %d times", n-before)
	}
}

func TestTwoConcentratorsWithOneKeyAreRefused(t *testing.T) {
	one, _ := newUser(t, 1)
	w := newWorld(t, one)
	if err := w.server.AddUser(User{Title: titleOf(2), NKeyPublic: one.NKeyPublic}); !errors.Is(err, ErrServer) {
		t.Errorf("got %v", err)
	}
	if err := w.server.AddUser(User{Title: titleOf(2), NKeyPublic: "UBAD"}); !errors.Is(err, ErrServer) {
		t.Errorf("got %v", err)
	}
}

func TestTheLineComesBackAfterTheServerRestarted(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	var connected atomic.Int32
	cfg := w.config(u, pair)
	cfg.Connected = func() { connected.Add(1) }
	c := w.connect(cfg, func(context.Context, Order) Reply { return statusReply(7) })
	address := strings.TrimPrefix(w.server.URL(), "tls://")
	w.is.Close()
	w.server.Close()
	w.eventually("the line is down", func() bool { return !c.Up() })
	if _, err := c.SendUp(short(t), Up{Hello: &Hello{}}); err == nil {
		t.Error("sent on a line that is down")
	}
	w.start(address, u)
	w.eventually("the line is back", c.Up)
	w.eventually("the order is taken", func() bool {
		r, err := w.is.Order(short(t), u.Title, statusOrder())
		return err == nil && r.Status.Spooled == 7
	})
	w.eventually("it was told twice", func() bool { return connected.Load() == 2 })
}

func TestCloseWaitsForHandlers(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	begun := make(chan struct{})
	var ended atomic.Bool
	c := w.connect(w.config(u, pair), func(ctx context.Context, _ Order) Reply {
		close(begun)
		<-ctx.Done()
		ended.Store(true)
		return statusReply(0)
	})
	go func() { _, _ = w.is.Order(short(t), u.Title, statusOrder()) }()
	<-begun
	c.Close()
	if !ended.Load() {
		t.Error("Close came back before the handler")
	}
}

func TestTheTransportCarriesWhatItIsGiven(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	want := Order{
		ID: "x", NotAfter: time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond),
		Relay: &Relay{Meter: titleOf(9), ClientSAP: 64, ServerSAP: 1, APDU: []byte{0x60, 1, 2}},
	}
	got := make(chan Order, 1)
	w.connect(w.config(u, pair), func(_ context.Context, o Order) Reply {
		got <- o
		return Reply{Relay: &RelayResult{APDU: []byte{0x61, 3}}}
	})
	r, err := w.is.Order(short(t), u.Title, want)
	if err != nil || r.Relay == nil || r.Relay.APDU[1] != 3 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
}

func TestAnUpThatWaitsOnALineThatIsLostEndsAtOnce(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	begun := make(chan struct{})
	if err := w.is.HandleUp(func(ctx context.Context, _ dlms.SystemTitle, _ Up) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	c := w.connect(w.config(u, pair), nil)
	done := make(chan error, 1)
	go func() {
		_, err := c.SendUp(t.Context(), Up{Hello: &Hello{}})
		done <- err
	}()
	<-begun
	if err := w.server.RemoveUser(u.Title); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		wantFault(t, err, FaultUnknown)
	case <-time.After(5 * time.Second):
		t.Error("it still waits")
	}
}

func TestAnUpToAnISThatDoesNotListenIsUnreachable(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	_, err := w.connect(w.config(u, pair), nil).SendUp(short(t), Up{Hello: &Hello{}})
	wantFault(t, err, FaultUnreachable)
}

func TestAnOrderWhoseDeadlineIsOverIsNotSent(t *testing.T) {
	u, _ := newUser(t, 1)
	w := newWorld(t, u)
	o := statusOrder()
	o.NotAfter = time.Now().Add(-time.Second)
	_, err := w.is.Order(short(t), u.Title, o)
	wantFault(t, err, FaultExpired)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.is.Order(ctx, u.Title, statusOrder())
	wantFault(t, err, FaultExpired)
}
