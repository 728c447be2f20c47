package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lan          = "lan"
	sapReadWrite = dlms.SAP(32)
	sapBroadcast = dlms.SAP(48)
)

var (
	own   = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	title = dlms.SystemTitle{'M', 'T', 'R', 0, 0, 0, 0, 2}
	setup = dlms.OBIS{0, 0, 43, 0, 1, 255}
	note  = dlms.AttributeRef{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 1, 0, 255}, Attribute: 2}
	big   = dlms.AttributeRef{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 1, 1, 255}, Attribute: 2}
	floor = dlms.AttributeRef{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 43, 1, 1, 255}, Attribute: 2}
)

func ok[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func source(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

// ends is a client's and a meter's half of one key, a server of this module, and an oracle over both.
type ends struct {
	oracle *dlmstest.Oracle
	meter  security.LongTerm
	server *server.Server
	notes  []uint32 // what was written, in order

	client security.LongTerm
	floor  *security.FloorTable
	kept   security.Reservation
}

func (e *ends) SystemTitle() dlms.SystemTitle                  { return title }
func (e *ends) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &e.meter, nil }
func (e *ends) Event(server.Event)                             {}
func (e *ends) put(_ *cosem.Env, d dlms.Data) error {
	v, err := d.Uint()
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	e.notes = append(e.notes, uint32(v))
	return nil
}

func newEnds(t dlmstest.TB, ak key.Authentication, change func(*server.Client)) *ends {
	k := ok(key.GenerateUnicast(source(1)))
	e := &ends{oracle: dlmstest.NewOracle(t)}
	cipher := func() *security.Cipher {
		return ok(security.NewCipher(e.oracle.Wrap(ok(k.AEAD()), k.Fingerprint()), ak))
	}
	keep := func(security.Floor) error { return nil }
	table := ok(security.NewFloorTable(security.FloorConfig{Persist: keep}))
	e.meter = security.LongTerm{Cipher: cipher(), Send: security.NewMemoryCounter(), Floor: table}
	e.floor = ok(security.NewFloorTable(security.FloorConfig{Persist: keep}))
	e.client = security.LongTerm{Cipher: cipher(), Floor: e.floor}
	e.restart()
	e.server = server.New(ok(e.model(table, change)), e, &server.Options{Rand: source(2), WrapAEAD: e.oracle.Wrap})
	return e
}

// restart is a client that was killed: it goes on behind the block it had reserved.
func (e *ends) restart() {
	e.client.Send = ok(security.NewBlockCounter(security.BlockConfig{Start: e.kept, Size: 8, Reserve: func(r security.Reservation) error {
		e.kept = r
		return nil
	}}))
}

func (e *ends) model(table *security.FloorTable, change func(*server.Client)) (*server.Model, error) {
	c := server.Client{
		Name: "rw", SAP: sapReadWrite, Links: []string{lan}, Mechanism: server.MechanismGMAC, Setup: setup,
		Policy: security.PolicyAuthenticatedEncrypted, MaxPDU: 239,
		Rights: []server.Right{
			{Class: note.Class, Instance: note.Instance, Read: []int8{2}, Write: []int8{2}},
			{Class: big.Class, Instance: big.Instance, Read: []int8{2}, Write: []int8{2}},
		},
	}
	if change != nil {
		change(&c)
	}
	broadcast := c
	broadcast.Name, broadcast.SAP, broadcast.Broadcast = "broadcast", sapBroadcast, c.Traffic == server.DedicatedRequired
	public := server.Client{Name: "public", SAP: dlms.SAPPublic, Links: []string{lan}, Rights: []server.Right{
		{Class: floor.Class, Instance: floor.Instance, Read: []int8{2}},
	}}
	value := bytes.Repeat([]byte("load"), 300)
	return server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{
			cosem.NewData(note.Instance, func(*cosem.Env) (dlms.Data, error) { return dlms.Uint32(e.last()), nil }, e.put),
			cosem.NewData(big.Instance, func(*cosem.Env) (dlms.Data, error) { return dlms.OctetString(value), nil },
				func(_ *cosem.Env, d dlms.Data) error {
					value = bytes.Clone(d.Bytes())
					return nil
				}),
			cosem.NewData(floor.Instance, func(*cosem.Env) (dlms.Data, error) {
				return dlms.Uint32(uint32(table.Expected(own))), nil
			}, nil),
		},
		Clients: []server.Client{c, broadcast, public},
	})
}

func (e *ends) last() uint32 {
	if len(e.notes) == 0 {
		return 0
	}
	return e.notes[len(e.notes)-1]
}

func (e *ends) linky(seed uint64) client.Config {
	c := client.Linky(own, title, e.client, source(100+seed))
	c.WrapAEAD = e.oracle.Wrap
	return c
}

// direct carries APDUs to the server and back with nothing in between.
type direct struct {
	server *server.Server
	sap    dlms.SAP
	to     dlms.SAP
	queue  [][]byte
}

func (e *ends) direct(sap dlms.SAP) *direct {
	return &direct{server: e.server, sap: sap, to: dlms.SAPManagement}
}

func (d *direct) Send(ctx context.Context, b []byte) error {
	if out := d.server.Handle(ctx, lan, link.Request{Client: d.sap, Server: d.to, APDU: bytes.Clone(b)}); out != nil {
		d.queue = append(d.queue, out)
	}
	return nil
}

func (d *direct) Receive(ctx context.Context) ([]byte, error) {
	if len(d.queue) == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	b := d.queue[0]
	d.queue = d.queue[1:]
	return b, nil
}

func (d *direct) Close() error { return nil }

func TestTwoEndsReadAndWriteInEveryForm(t *testing.T) {
	ak := ok(key.NewAuthentication(bytes.Repeat([]byte{7, 9}, 8)))
	generic := func(c *server.Client) {
		c.Traffic, c.GeneralForms, c.Policy = server.DedicatedOrGlobal, true, security.PolicyAuthenticated
	}
	for name, c := range map[string]struct {
		meter  func(*server.Client)
		client func(*client.Config)
	}{
		"linky":             {nil, func(*client.Config) {}},
		"global":            {generic, func(c *client.Config) { c.Dedicated, c.Strict = false, false }},
		"dedicated":         {generic, func(c *client.Config) { c.Strict = false }},
		"general global":    {generic, func(c *client.Config) { c.Dedicated, c.Strict, c.General = false, false, true }},
		"general dedicated": {generic, func(c *client.Config) { c.General = true }},
		"authenticated":     {generic, func(c *client.Config) { c.Strict, c.Policy = false, security.PolicyAuthenticated }},
	} {
		for _, ak := range []key.Authentication{{}, ak} {
			t.Run(fmt.Sprintf("%s/ak %t", name, !ak.IsZero()), func(t *testing.T) {
				e := newEnds(t, ak, c.meter)
				cfg := e.linky(0)
				c.client(&cfg)
				a, err := client.Open(t.Context(), e.direct(sapReadWrite), cfg)
				if err != nil {
					t.Fatal(err)
				}
				readAndWrite(t, e, a)
			})
		}
	}
}

func readAndWrite(t *testing.T, e *ends, a *client.Association) {
	t.Helper()
	ctx := t.Context()
	if err := a.Set(ctx, note, dlms.Uint32(42)); err != nil || e.last() != 42 {
		t.Errorf("set: %v, the meter has %d", err, e.last())
	}
	if d, err := a.Get(ctx, note); err != nil || !d.Equal(dlms.Uint32(42)) {
		t.Errorf("get: %s, %v", d, err)
	}
	if d, err := a.Get(ctx, big); err != nil || d.Len() != 1200 {
		t.Errorf("get in blocks: %d bytes, %v", d.Len(), err)
	}
	value := dlms.OctetString(bytes.Repeat([]byte("image"), 200))
	if err := a.Set(ctx, big, value); err != nil {
		t.Errorf("set in blocks: %v", err)
	}
	if d, err := a.Get(ctx, big); err != nil || !d.Equal(value) {
		t.Errorf("after a set in blocks: %d bytes, %v", d.Len(), err)
	}
	if _, err := a.Get(ctx, floor); !errors.Is(err, dlms.DataAccessObjectUndefined) && !errors.Is(err, dlms.DataAccessReadWriteDenied) {
		t.Errorf("no right: %v", err)
	}
	if _, err := a.GetList(ctx, []apdu.Attribute{{Ref: note}, {Ref: big}}); err != nil {
		t.Errorf("get list: %v", err)
	}
	if err := a.Release(ctx); err != nil {
		t.Errorf("release: %v", err)
	}
	if open, half := e.server.Associations(); open+half != 0 {
		t.Errorf("the meter still holds %d open and %d half-open", open, half)
	}
}

func TestTwoEndsOfABroadcast(t *testing.T) {
	e := newEnds(t, key.Authentication{}, nil)
	b := ok(client.NewBroadcast(client.BroadcastConfig{Title: own, Rand: source(5), WrapAEAD: e.oracle.Wrap}))
	cfg := e.linky(0)
	cfg.Dedicated, cfg.Broadcast = false, b
	if _, err := client.Open(t.Context(), e.direct(sapBroadcast), cfg); err != nil {
		t.Fatal(err)
	}
	rw := ok(client.Open(t.Context(), e.direct(sapReadWrite), e.linky(1)))
	all := e.direct(sapBroadcast)
	all.to = dlms.SAPAllStations
	first := ok(b.AppendSet(nil, apdu.Attribute{Ref: note}, dlms.Uint32(7)))
	second := ok(b.AppendSet(nil, apdu.Attribute{Ref: note}, dlms.Uint32(8)))
	for _, x := range [][]byte{first, first, second, first, second} {
		if err := all.Send(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(e.notes) != "[7 8]" {
		t.Errorf("want each broadcast to take effect once, got %v", e.notes)
	}
	if len(all.queue) != 0 {
		t.Error("the meter answered to a broadcast")
	}
	if d, err := rw.Get(t.Context(), note); err != nil || !d.Equal(dlms.Uint32(8)) {
		t.Errorf("the read/write association beside it: %s, %v", d, err)
	}
}

func TestAClientThatLostCountRaisesItselfByTheFloorThatThePublicClientReads(t *testing.T) {
	e := newEnds(t, key.Authentication{}, nil)
	ok(client.Open(t.Context(), e.direct(sapReadWrite), e.linky(0)))
	e.kept = security.Reservation{} // the disk was lost
	e.restart()
	var refused *client.ExceptionError
	if _, err := client.Open(t.Context(), e.direct(sapReadWrite), e.recovering(1)); !errors.As(err, &refused) {
		t.Fatalf("want a refusal, got %v", err)
	}
	v, err := client.ReadFloor(t.Context(), e.direct(dlms.SAPPublic), setup)
	if err != nil || v != 4 {
		t.Fatalf("want floor 4, got %d, %v", v, err)
	}
	if err := e.client.Send.(*security.BlockCounter).RaiseTo(v); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Open(t.Context(), e.direct(sapReadWrite), e.linky(2)); err != nil {
		t.Error(err)
	}
}

// recovering is a configuration of a client whose counters were lost, out of sight of the oracle: the first nonces do
// come twice, which is what a meter's floor and our durable counters are there for.
func (e *ends) recovering(seed uint64) client.Config {
	k := ok(key.GenerateUnicast(source(1)))
	cfg := e.linky(seed)
	cfg.Global.Cipher = ok(security.NewCipher(ok(k.AEAD()), key.Authentication{}))
	return cfg
}
