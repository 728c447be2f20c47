package cosem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

var pushName = dlms.OBIS{0, 0, 25, 9, 0, 255}

func pushSetup() cosem.PushSetup {
	return cosem.PushSetup{
		Objects:     []apdu.Column{valueColumn},
		Destination: cosem.PushDestination{Transport: cosem.TransportTCP, Address: []byte("192.0.2.1:4059")},
		Retries:     2, RepetitionDelay: 60,
	}
}

// bubble is the clock of a synctest bubble.
type bubble struct{}

func (bubble) Now() time.Time                         { return time.Now() }
func (bubble) After(d time.Duration) <-chan time.Time { return time.After(d) }

// zeros and ones are randomness at its two ends.
type ends byte

func (e ends) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// pusher runs an engine in a bubble and notes, in seconds since its start, what was sent and what became of it.
type pusher struct {
	t      *testing.T
	engine *cosem.PushEngine
	value  uint32
	setup  cosem.PushSetup
	sent   []string
	ended  []error
	start  time.Time

	mu   sync.Mutex
	fail func(attempt int) error
}

// fails says what becomes of attempts from now on.
func (p *pusher) fails(f func(attempt int) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = f
}

func runPusher(t *testing.T, change func(*cosem.PushEngineConfig, *cosem.PushSetup), story func(p *pusher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pusher{t: t, setup: pushSetup(), start: time.Now()} // 2000-01-01 00:00 UTC
		set := cosem.NewObjectSet(cosem.NewRegister(valueColumn.Instance, func(*cosem.Env) (dlms.Data, error) {
			return dlms.Uint32(p.value), nil
		}, 0, cosem.UnitWatt))
		cfg := cosem.PushEngineConfig{
			Setup: func() (cosem.PushSetup, error) { return p.setup, nil }, Objects: set, Send: p.send, Clock: bubble{},
			Rand: ends(0), Report: func(err error) { p.ended = append(p.ended, err) },
		}
		if change != nil {
			change(&cfg, &p.setup)
		}
		e, err := cosem.NewPushEngine(cfg)
		must(t, err)
		p.engine = e
		run, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- e.Run(run) }()
		story(p)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
	})
}

func (p *pusher) send(_ context.Context, plain []byte, to cosem.PushDestination) error {
	n, err := apdu.ParseDataNotification(plain)
	must(p.t, err)
	v, err := n.Body.At(0).Uint()
	must(p.t, err)
	if string(to.Address) != "192.0.2.1:4059" {
		p.t.Errorf("to %s", to.Address)
	}
	p.sent = append(p.sent, fmt.Sprintf("%d:%d", time.Since(p.start)/time.Second, v))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail == nil {
		return nil
	}
	return p.fail(len(p.sent))
}

func (p *pusher) trigger(value uint32) error {
	p.value = value
	return p.engine.Trigger(&cosem.Env{Context: context.Background(), Now: time.Now()})
}

func (p *pusher) want(sent string, ended ...error) {
	p.t.Helper()
	synctest.Wait()
	if got := strings.Join(p.sent, " "); got != sent {
		p.t.Errorf("sent: want %s, got %s", sent, got)
	}
	if len(p.ended) != len(ended) {
		p.t.Fatalf("ended: want %v, got %v", ended, p.ended)
	}
	for i := range ended {
		if !errors.Is(p.ended[i], ended[i]) {
			p.t.Errorf("end %d: want %v, got %v", i, ended[i], p.ended[i])
		}
	}
}

func TestAPushIsSentAtOnceWithTheValuesOfItsTrigger(t *testing.T) {
	runPusher(t, nil, func(p *pusher) {
		must(t, p.trigger(1))
		must(t, p.trigger(2))
		p.want("0:1 0:2", nil, nil)
		time.Sleep(time.Hour)
		must(t, p.trigger(3))
		p.want("0:1 0:2 3600:3", nil, nil, nil)
	})
}

func TestAPushIsTriedAgainAndGivenUp(t *testing.T) {
	down := errors.New("no answer")
	runPusher(t, nil, func(p *pusher) {
		p.fails(func(int) error { return down })
		must(t, p.trigger(1))
		time.Sleep(time.Hour)
		p.want("0:1 60:1 120:1", cosem.ErrPushGivenUp)
		refused(t, p.ended[0], down)
	})
	runPusher(t, nil, func(p *pusher) {
		p.fails(func(n int) error {
			if n < 3 {
				return down
			}
			return nil
		})
		must(t, p.trigger(1))
		p.value = 9 // the message is that of its trigger
		time.Sleep(30 * time.Second)
		must(t, p.trigger(2)) // another one does not wait for the first
		time.Sleep(time.Hour)
		p.want("0:1 30:2 60:1 90:2", nil, nil)
	})
}

func TestAPushEngineHoldsNoMoreThanItsQueue(t *testing.T) {
	down := errors.New("no answer")
	runPusher(t, func(c *cosem.PushEngineConfig, s *cosem.PushSetup) { c.Queue, s.Retries = 3, 255 }, func(p *pusher) {
		p.fails(func(int) error { return down })
		for i := range uint32(10) {
			err := p.trigger(i)
			if i < 3 && err != nil || i >= 3 && !errors.Is(err, cosem.ErrPushQueue) {
				t.Errorf("trigger %d: %v", i, err)
			}
			if cosem.Action(err) != map[bool]dlms.ActionResult{true: 0, false: dlms.ActionTemporaryFailure}[i < 3] {
				t.Errorf("trigger %d: %s on the line", i, cosem.Action(err))
			}
			synctest.Wait()
		}
		if n := p.engine.Waiting(); n != 3 {
			t.Errorf("%d wait", n)
		}
		p.fails(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.engine.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
		must(t, p.trigger(11))
	})
	runPusher(t, func(c *cosem.PushEngineConfig, _ *cosem.PushSetup) { c.MaxSize = 20 }, func(p *pusher) {
		refused(t, p.trigger(1), cosem.ErrPushQueue)
	})
}

func TestTheFirstAttemptIsPutOffAtRandom(t *testing.T) {
	for r, at := range map[ends]string{0: "0:1", 0x80: "150:1", 0xFF: "299:1"} {
		runPusher(t, func(c *cosem.PushEngineConfig, s *cosem.PushSetup) { c.Rand, s.RandomStart = r, 300 }, func(p *pusher) {
			must(t, p.trigger(1))
			time.Sleep(time.Hour)
			p.want(at, nil)
		})
	}
	runPusher(t, func(c *cosem.PushEngineConfig, s *cosem.PushSetup) { c.Rand, s.RandomStart = &bytes.Buffer{}, 300 }, func(p *pusher) {
		if err := p.trigger(1); err == nil {
			t.Error("pushed without randomness")
		}
	})
}

// daily is a window that comes every day.
func daily(from, to byte) cosem.PushWindow {
	at := func(h byte) dlms.DateTime {
		t := dlms.DateTimeUnspecified()
		t[5], t[6], t[7], t[8] = h, 0, 0, 0
		return t
	}
	return cosem.PushWindow{Start: at(from), End: at(to)}
}

func TestAPushKeepsToItsWindows(t *testing.T) {
	const hour = 3600
	window := func(w ...cosem.PushWindow) func(*cosem.PushEngineConfig, *cosem.PushSetup) {
		return func(_ *cosem.PushEngineConfig, s *cosem.PushSetup) { s.Windows = w }
	}
	runPusher(t, window(daily(2, 4), daily(12, 13)), func(p *pusher) { // it is midnight
		must(t, p.trigger(1))
		time.Sleep(3 * time.Hour)
		must(t, p.trigger(2))
		time.Sleep(2 * time.Hour)
		must(t, p.trigger(3))
		time.Sleep(20 * time.Hour)
		p.want(fmt.Sprintf("%d:1 %d:2 %d:3", 2*hour, 3*hour, 12*hour), nil, nil, nil)
	})
	runPusher(t, window(daily(22, 6)), func(p *pusher) { // over midnight
		must(t, p.trigger(1))
		time.Sleep(10 * time.Hour)
		must(t, p.trigger(2))
		time.Sleep(24 * time.Hour)
		p.want(fmt.Sprintf("0:1 %d:2", 22*hour), nil, nil)
	})
	// A retry that would fall behind the window waits for the next one.
	runPusher(t, func(_ *cosem.PushEngineConfig, s *cosem.PushSetup) {
		s.Windows, s.RepetitionDelay = []cosem.PushWindow{daily(0, 1)}, 1800
	}, func(p *pusher) {
		p.fails(func(int) error { return errLine })
		must(t, p.trigger(1))
		time.Sleep(48 * time.Hour)
		p.want(fmt.Sprintf("0:1 1800:1 %d:1", 24*hour), cosem.ErrPushGivenUp)
	})
	always := cosem.PushWindow{Start: dlms.DateTimeUnspecified(), End: dlms.DateTimeUnspecified()}
	runPusher(t, window(always), func(p *pusher) {
		must(t, p.trigger(1))
		p.want("0:1", nil)
	})
	over := daily(1, 2)
	copy(over.Start[:5], []byte{0x07, 0xCF, 1, 1, 0xFF}) // in 1999
	copy(over.End[:5], over.Start[:5])
	runPusher(t, window(over), func(p *pusher) { refused(t, p.trigger(1), cosem.ErrPushWindow) })
	// It begins every day, and ended for good long ago.
	ended := daily(1, 2)
	copy(ended.End[:5], over.End[:5])
	runPusher(t, window(ended), func(p *pusher) { refused(t, p.trigger(1), cosem.ErrPushWindow) })
	// The randomness put it behind the only window there was.
	last := daily(1, 2)
	copy(last.Start[:5], []byte{0x07, 0xD0, 1, 1, 0xFF})
	copy(last.End[:5], last.Start[:5])
	runPusher(t, func(c *cosem.PushEngineConfig, s *cosem.PushSetup) {
		s.Windows, s.RandomStart, c.Rand = []cosem.PushWindow{last}, 7200, ends(0xFF)
	}, func(p *pusher) {
		must(t, p.trigger(1))
		time.Sleep(24 * time.Hour)
		p.want("", cosem.ErrPushWindow)
	})
}

func TestAPushThatIsCancelledStaysInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sending := make(chan struct{})
		e, err := cosem.NewPushEngine(cosem.PushEngineConfig{
			Setup: func() (cosem.PushSetup, error) { return cosem.PushSetup{}, nil }, Objects: cosem.NewObjectSet(),
			Send: func(ctx context.Context, _ []byte, _ cosem.PushDestination) error {
				close(sending)
				<-ctx.Done()
				return ctx.Err()
			},
			Clock: bubble{}, Rand: ends(0), Report: func(err error) { t.Errorf("ended: %v", err) },
		})
		must(t, err)
		must(t, e.Trigger(&cosem.Env{}))
		run, cancel := context.WithCancel(context.Background())
		go func() { <-sending; cancel() }()
		_, err = e.Step(run)
		refused(t, err, context.Canceled)
		if e.Waiting() != 1 {
			t.Errorf("%d wait", e.Waiting())
		}
	})
	_, err := cosem.NewPushEngine(cosem.PushEngineConfig{})
	refused(t, err, cosem.ErrValue)
}

func TestAPushSetupIsWorkedFromAfar(t *testing.T) {
	setup := pushSetup()
	pushes := 0
	line := reach(t, cosem.NewPushSetup(cosem.PushSetupConfig{
		Instance: pushName, Setup: kept(&setup), Push: func(*cosem.Env) error { pushes++; return nil },
	}))
	r := cosem.PushSetupAt(line, pushName)
	next := cosem.PushSetup{
		Objects:     []apdu.Column{clockColumn, valueColumn},
		Destination: cosem.PushDestination{Transport: cosem.TransportHDLC, Address: []byte{1, 2}, Message: 128},
		Windows:     []cosem.PushWindow{daily(1, 2), daily(3, 4)},
		RandomStart: 5, Retries: 6, RepetitionDelay: 7,
	}
	for n := int8(2); n <= 7; n++ {
		must(t, r.Write(ctx, n, next))
	}
	if diff := cmp.Diff(next, got(r.Read(ctx))(t)); diff != "" {
		t.Error(diff)
	}
	must(t, r.Push(ctx))
	if pushes != 1 {
		t.Errorf("%d pushes", pushes)
	}
	for n, bad := range map[int8]cosem.PushSetup{
		2: {Objects: make([]apdu.Column, 65)}, 3: {Destination: cosem.PushDestination{Address: make([]byte, 257)}},
		4: {Windows: make([]cosem.PushWindow, 33)},
	} {
		if n == 4 {
			for i := range bad.Windows {
				bad.Windows[i] = daily(1, 2)
			}
		}
		refused(t, r.Write(ctx, n, bad), dlms.DataAccessScopeViolated)
	}
	deaf := cosem.NewPushSetup(cosem.PushSetupConfig{Setup: kept(&setup)})
	_, err := deaf.Invoke(&cosem.Env{}, 1, dlms.Int8(0))
	refused(t, err, dlms.ActionReadWriteDenied)
}

func TestTheValuesOfAPushSetupReadBackAsWritten(t *testing.T) {
	travels(t, rapid.Custom(func(t *rapid.T) cosem.PushDestination {
		return cosem.PushDestination{
			Transport: cosem.Transport(rapid.Byte().Draw(t, "transport")), Address: anyOctets.Draw(t, "address"), Message: rapid.Byte().Draw(t, "message"),
		}
	}), cosem.ParsePushDestination)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.PushWindow {
		return cosem.PushWindow{Start: anyTime.Draw(t, "start"), End: anyTime.Draw(t, "end")}
	}), cosem.ParsePushWindow)
	if s := cosem.TransportMBus.String(); s != "M-Bus" {
		t.Errorf("transport: %s", s)
	}
}

func FuzzPushSetup(f *testing.F) {
	fuzz(f, []value{pushSetup().Destination, daily(1, 2)}, parses(cosem.ParsePushDestination), parses(cosem.ParsePushWindow))
}
