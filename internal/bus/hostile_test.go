package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/meterseal/meterseal/dlms"
)

func wantRefusal(t *testing.T, refused <-chan error, what string) {
	t.Helper()
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: got %v", what, err)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("%s: not refused", what)
	}
}

func TestAConcentratorCannotHearOrSpeakForAnother(t *testing.T) {
	one, key1 := newUser(t, 1)
	two, key2 := newUser(t, 2)
	w := newWorld(t, one, two)
	w.connect(w.config(two, key2), func(context.Context, Order) Reply {
		t.Error("an order that the IS did not give was carried out")
		return statusReply(0)
	})
	if err := w.is.HandleUp(func(_ context.Context, from dlms.SystemTitle, _ Up) error {
		if from != one.Title {
			t.Errorf("an up of %s came from somebody else", from)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	nc, refused := w.raw(one, key1)
	for _, subject := range []string{
		orderSubject(two.Title), upSubject(two.Title), inboxOf(two.Title) + ".>", "_INBOX.IS.>", "_INBOX.>",
		subjectRoot + ">", subjectRoot + "*.order", ">", "$SYS.>", upSubject(one.Title),
	} {
		if _, err := nc.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "subscribe "+subject)
	}
	order, err := json.Marshal(Order{ID: "x", NotAfter: time.Now().Add(time.Minute), Status: &Status{}})
	if err != nil {
		t.Fatal(err)
	}
	up := []byte(`{"id":"x","hello":{"epoch":1,"found":[],"held":[]}}`)
	for subject, data := range map[string][]byte{
		orderSubject(two.Title): order, orderSubject(one.Title): order, upSubject(two.Title): up,
		"_INBOX.IS.x": up, "$SYS.REQ.SERVER.PING": nil, inboxOf(two.Title) + ".x": up,
	} {
		if err := nc.Publish(subject, data); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, refused, "publish "+subject)
	}
}

// The IS may publish anywhere: an Up whose answer is wanted on another's subject would make it speak there.
func TestTheISDoesNotAnswerAtAForeignSubject(t *testing.T) {
	one, key1 := newUser(t, 1)
	two, key2 := newUser(t, 2)
	w := newWorld(t, one, two)
	if err := w.is.HandleUp(func(context.Context, dlms.SystemTitle, Up) error {
		t.Error("taken")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{}, 1)
	nc2, _ := w.raw(two, key2)
	if _, err := nc2.Subscribe(orderSubject(two.Title), func(*nats.Msg) { heard <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := nc2.Flush(); err != nil {
		t.Fatal(err)
	}
	nc, _ := w.raw(one, key1)
	up := []byte(`{"id":"x","hello":{"epoch":1,"found":[],"held":[]}}`)
	if err := errors.Join(nc.PublishRequest(upSubject(one.Title), orderSubject(two.Title), up), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
		t.Error("the IS spoke to another concentrator at the word of the first")
	case <-time.After(300 * time.Millisecond):
	}
}

func TestAConcentratorAnswersAnOrderOnce(t *testing.T) {
	one, key1 := newUser(t, 1)
	w := newWorld(t, one)
	nc, refused := w.raw(one, key1)
	replies := make(chan string, 1)
	if _, err := nc.Subscribe(orderSubject(one.Title), func(m *nats.Msg) {
		var o Order
		if err := json.Unmarshal(m.Data, &o); err != nil {
			t.Error(err)
		}
		_ = m.Respond([]byte(`{"id":"` + o.ID + `"}`))
		_ = m.Respond([]byte(`{"id":"` + o.ID + `"}`))
		replies <- m.Reply
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.is.Order(short(t), one.Title, statusOrder()); err != nil {
		t.Fatal(err)
	}
	<-replies
	wantRefusal(t, refused, "second answer")
}

func TestGarbageFromAConcentratorIsRefusedAndTheNextIsServed(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	if err := w.is.HandleUp(func(context.Context, dlms.SystemTitle, Up) error { return nil }); err != nil {
		t.Fatal(err)
	}
	nc, _ := w.raw(u, pair)
	for name, data := range map[string]string{
		"empty":         "",
		"binary":        "\x60\x1d\xff",
		"nothing told":  `{"id":"x"}`,
		"two things":    `{"id":"x","hello":{"epoch":1},"log":{"entries":[]}}`,
		"unknown field": `{"id":"x","hello":{"epoch":1,"root":true}}`,
		"trailing":      `{"id":"x","hello":{"epoch":1}} {}`,
		"no id":         `{"hello":{"epoch":1}}`,
		"long id":       `{"id":"` + strings.Repeat("x", 65) + `","hello":{"epoch":1}}`,
		"wrong title":   `{"id":"x","hello":{"found":["00"]}}`,
		"deep":          strings.Repeat("[", 100_000),
	} {
		m, err := nc.RequestWithContext(short(t), upSubject(u.Title), []byte(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var a Ack
		if err := json.Unmarshal(m.Data, &a); err != nil || a.Fault == nil || a.Fault.Code != FaultRefused {
			t.Errorf("%s: got %s", name, m.Data)
		}
	}
	m, err := nc.RequestWithContext(short(t), upSubject(u.Title), []byte(`{"id":"x","hello":{"epoch":1,"found":null,"held":null}}`))
	if err != nil || string(m.Data) != `{"id":"x"}` {
		t.Errorf("the next honest one: got %s, %v", m.Data, err)
	}
}

func TestGarbageFromTheISIsRefusedAndTheNextIsServed(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	w.connect(w.config(u, pair), func(context.Context, Order) Reply { return statusReply(3) })
	for name, data := range map[string]string{
		"empty":      "",
		"nothing":    `{"id":"x","not_after":"2100-01-01T00:00:00Z"}`,
		"unknown":    `{"id":"x","not_after":"2100-01-01T00:00:00Z","status":{"associate":false},"run":"sh"}`,
		"undated":    `{"id":"x","status":{"associate":false}}`,
		"two things": `{"id":"x","not_after":"2100-01-01T00:00:00Z","status":{"associate":false},"broadcast":{"clock":true}}`,
		"many items": `{"id":"x","not_after":"2100-01-01T00:00:00Z","perform":{"meter":"4D53430000000001","ops":[` + strings.Repeat("{},", maxItems) + `{}]}}`,
	} {
		m, err := w.is.nc.RequestWithContext(short(t), orderSubject(u.Title), []byte(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var r Reply
		if err := json.Unmarshal(m.Data, &r); err != nil || r.Fault == nil || r.Fault.Code != FaultRefused {
			t.Errorf("%s: got %s", name, m.Data)
		}
	}
	if r, err := w.is.Order(short(t), u.Title, statusOrder()); err != nil || r.Status == nil {
		t.Errorf("the next honest one: got %+v, %v", r, err)
	}
}

func TestAConcentratorThatAnswersNonsenseLeavesTheOutcomeUnknown(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	nc, _ := w.raw(u, pair)
	answers := make(chan string, 1)
	if _, err := nc.Subscribe(orderSubject(u.Title), func(m *nats.Msg) { _ = m.Respond([]byte(<-answers)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"", "{", `{"id":"another"}`, `{"id":"x","keys":1}`, strings.Repeat("[", 10_000)} {
		answers <- answer
		_, err := w.is.Order(short(t), u.Title, statusOrder())
		wantFault(t, err, FaultUnknown)
	}
}

func TestWhatIsTooLongIsRefusedBeforeItIsSent(t *testing.T) {
	u, pair := newUser(t, 1)
	w := newWorld(t, u)
	c := w.connect(w.config(u, pair), func(context.Context, Order) Reply {
		return Reply{Relay: &RelayResult{APDU: make([]byte, MaxMessage)}}
	})
	o := Order{Relay: &Relay{Meter: titleOf(9), APDU: make([]byte, MaxMessage)}}
	if _, err := w.is.Order(short(t), u.Title, o); !errors.Is(err, ErrMessage) {
		t.Errorf("order: got %v", err)
	}
	up := Up{Readings: &Readings{Blocks: []DayBlock{{Status: make([]byte, MaxMessage)}}}}
	if _, err := c.SendUp(short(t), up); !errors.Is(err, ErrMessage) {
		t.Errorf("up: got %v", err)
	}
	r, err := w.is.Order(short(t), u.Title, statusOrder())
	if err != nil || r.Fault == nil || r.Fault.Code != FaultUnknown {
		t.Errorf("an answer that is too long: got %+v, %v", r.Fault, err)
	}
}

func TestInitTLSReplacesNothingAndKeepsKeysPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := InitTLS(dir, time.Now(), rand.Reader, "is.example", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if err := InitTLS(dir, time.Now(), rand.Reader); !errors.Is(err, os.ErrExist) {
		t.Errorf("second time: got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("files: %v, %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestABadConfigurationIsAnError(t *testing.T) {
	w := newWorld(t)
	for _, listen := range []string{"nonsense", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := NewServer(ServerConfig{Listen: listen, TLSDir: w.dir, Rand: rand.Reader}); !errors.Is(err, ErrServer) {
			t.Errorf("%s: got %v", listen, err)
		}
	}
	if _, err := NewServer(ServerConfig{TLSDir: t.TempDir(), Rand: rand.Reader}); err == nil {
		t.Error("without certificate: no error")
	}
	u, pair := newUser(t, 1)
	cfg := w.config(u, pair)
	cfg.CAFile = filepath.Join(w.dir, "nothing")
	if _, err := Connect(cfg); err == nil {
		t.Error("without ca file: no error")
	}
}
