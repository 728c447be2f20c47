package server_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

// wire joins the client to the server without a wire: what is sent is handled at once.
type wire struct {
	b       *bench
	link    string
	sap     dlms.SAP
	answers [][]byte
}

func (w *wire) Send(_ context.Context, g []byte) error {
	if answer := w.b.handle(w.link, w.sap, bytes.Clone(g)); answer != nil {
		w.answers = append(w.answers, answer)
	}
	return nil
}

func (w *wire) Receive(ctx context.Context) ([]byte, error) {
	if len(w.answers) == 0 {
		return nil, errors.Join(errors.New("silence"), ctx.Err())
	}
	answer := w.answers[0]
	w.answers = w.answers[1:]
	return answer, nil
}

func (w *wire) Close() error { return nil }

var _ link.Conn = (*wire)(nil)

func (b *bench) clientConfig(title dlms.SystemTitle, k []byte) client.Config {
	floor := security.NewMemoryFloor(meterTitle, 0)
	cfg := client.Linky(title, meterTitle, security.LongTerm{
		Cipher: b.cipherOf(k), Send: security.NewMemoryCounter(), Floor: floor,
	}, b.rand())
	cfg.WrapAEAD = b.wrap
	return cfg
}

func (b *bench) dial(t *testing.T, linkName string, sap dlms.SAP, cfg client.Config) *client.Association {
	t.Helper()
	a, err := client.Open(t.Context(), &wire{b: b, link: linkName, sap: sap}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOurClientReadsWritesInvokesAndReleases(t *testing.T) {
	b := newBench(t)
	for _, pdu := range []uint16{128, 0} {
		cfg := b.clientConfig(isTitle, isKey())
		cfg.MaxPDU = pdu
		send, err := security.NewBlockCounter(security.BlockConfig{
			Start:   security.Reservation{Ceiling: b.dev.floor(setupIS, isTitle)},
			Reserve: func(security.Reservation) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Global.Send = send
		exerciseClient(t, b, b.dial(t, lan, sapIS, cfg))
	}
}

func exerciseClient(t *testing.T, b *bench, a *client.Association) {
	t.Helper()
	ctx := t.Context()
	d, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Attribute: 2})
	if err != nil || d.Len() != 48 {
		t.Fatalf("curve: %d rows, %v", d.Len(), err)
	}
	sel := apdu.EntryDescriptor{FromEntry: 47, FromColumn: 1}.Selection()
	d, err = a.GetSelected(ctx, dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Attribute: 2}, sel)
	if err != nil || d.Len() != 2 {
		t.Fatalf("two rows: %s, %v", d, err)
	}
	long := bytes.Repeat([]byte("note "), 500)
	if err := a.Set(ctx, noteRef().Ref, dlms.OctetString(long)); err != nil || !bytes.Equal(b.dev.note, long) {
		t.Fatalf("set in blocks: %v", err)
	}
	open := dlms.MethodRef{Class: dlms.ClassDisconnectControl, Instance: obisBreaker, Method: 1}
	if _, err := a.Action(ctx, open, dlms.Int8(0)); err != nil || b.dev.breaker != cosem.Disconnected {
		t.Fatalf("breaker: %v", err)
	}
	open.Method = 9
	if _, err := a.Action(ctx, open, dlms.Int8(0)); !errors.Is(err, dlms.ActionReadWriteDenied) {
		t.Fatalf("unknown method: %v", err)
	}
	if err := a.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if n, half := b.srv.Associations(); n+half != 0 {
		t.Errorf("%d open, %d half-open after the release", n, half)
	}
}

func TestOurClientBroadcasts(t *testing.T) {
	b := newBench(t)
	bc, err := client.NewBroadcast(client.BroadcastConfig{Title: concTitle, Rand: b.rand(), WrapAEAD: b.wrap})
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.clientConfig(concTitle, lanKey())
	cfg.Dedicated, cfg.Broadcast = false, bc
	b.dial(t, lan, sapBroadcast, cfg)
	g, err := bc.AppendAction(nil, dlms.MethodRef{Class: dlms.ClassClock, Instance: obisClock, Method: 6}, dlms.Int16(-3))
	if err != nil {
		t.Fatal(err)
	}
	b.toAll(sapBroadcast, g)
	b.toAll(sapBroadcast, g)
	if len(b.dev.shifts) != 1 || b.dev.shifts[0] != -3 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
}

func TestOurClientSpeaksEveryFormToAForeignMetersProfile(t *testing.T) {
	b := newBench(t)
	for i, change := range []func(c *client.Config){
		func(*client.Config) {},
		func(c *client.Config) { c.Dedicated = false },
		func(c *client.Config) { c.General = true },
		func(c *client.Config) { c.General, c.Dedicated = true, false },
		func(c *client.Config) { c.Policy, c.Dedicated = security.PolicyAuthenticated, false },
	} {
		title := dlms.SystemTitle{'T', 'S', 'T', 0, 0, 0, 1, byte(i)}
		cfg := b.clientConfig(title, lanKey())
		cfg.Strict = false
		change(&cfg)
		a := b.dial(t, local, sapBench, cfg)
		d, err := a.Get(t.Context(), dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2})
		if v, _ := d.Uint(); err != nil || v != 123456 {
			t.Errorf("form %d: %s, %v", i, d, err)
		}
		if err := a.Release(t.Context()); err != nil {
			t.Errorf("form %d: %v", i, err)
		}
	}
}

func TestOurClientReadsAsThePublicClient(t *testing.T) {
	b := newBench(t)
	a := b.dial(t, lan, sapPublic, client.Config{})
	d, err := a.Get(t.Context(), dlms.AttributeRef{Class: dlms.ClassData, Instance: obisName, Attribute: 2})
	if err != nil || d.Text() != "MSL0000000000001" {
		t.Errorf("name: %s, %v", d, err)
	}
	_, err = a.Get(t.Context(), dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2})
	if !errors.Is(err, dlms.DataAccessObjectUndefined) {
		t.Errorf("energy: %v", err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOurClientIsToldWhyItIsRefused(t *testing.T) {
	b := newBench(t)
	var reject *client.RejectError
	_, err := client.Open(t.Context(), &wire{b: b, link: lan, sap: sapIS}, b.clientConfig(isTitle, otherKey()))
	if !errors.As(err, &reject) {
		t.Errorf("another key: %v", err)
	}
	b.dial(t, lan, sapIS, b.clientConfig(isTitle, isKey()))
	cfg := b.clientConfig(isTitle, isKey()) // a counter that starts again
	cfg.Global.Send = security.NewMemoryCounter()
	b.repeats = true
	var exception *client.ExceptionError
	_, err = client.Open(t.Context(), &wire{b: b, link: lan, sap: sapIS}, cfg)
	if !errors.As(err, &exception) || exception.InvocationCounter != 4 {
		t.Errorf("an old counter: %v", err)
	}
}
