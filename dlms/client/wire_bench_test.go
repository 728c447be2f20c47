package client_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// energy is the register that the wire benchmarks read.
var energy = dlms.AttributeRef{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: 2}

// bench is a client and a meter on loopback TCP. Nothing watches them: no oracle, no log.
type bench struct {
	device benchDevice
	client security.LongTerm
	dialer
}

// benchPorts is how many ports the servers of these benchmarks have. A connection that is closed keeps its pair of
// ports for a while; some ten thousand connections a second to one port leave the kernel searching for a free one, and
// the search is then what is measured.
const benchPorts = 4

// dialer connects to one address after another.
type dialer struct {
	addrs []string
	next  int
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	d.next = (d.next + 1) % len(d.addrs)
	var nd net.Dialer
	return nd.DialContext(ctx, "tcp", d.addrs[d.next])
}

// listen serves on all ports until the end of b, and returns what connects to them.
func listen(b testing.TB, serve func(context.Context, net.Listener) error) dialer {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, benchPorts)
	var d dialer
	for range benchPorts {
		var lc net.ListenConfig
		ln := ok(lc.Listen(ctx, "tcp", "127.0.0.1:0"))
		d.addrs = append(d.addrs, ln.Addr().String())
		go func() { served <- serve(ctx, ln) }()
	}
	b.Cleanup(func() {
		cancel()
		for range benchPorts {
			if err := <-served; err != nil {
				b.Error(err)
			}
		}
	})
	return d
}

type benchDevice struct{ key security.LongTerm }

func (d *benchDevice) SystemTitle() dlms.SystemTitle                  { return title }
func (d *benchDevice) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &d.key, nil }
func (d *benchDevice) Event(server.Event)                             {}

func newBench(b testing.TB) *bench {
	b.Helper()
	k := ok(key.GenerateUnicast(rand.Reader))
	e := &bench{}
	e.device.key = benchKey(k)
	e.client = benchKey(k)
	model := ok(server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{
			cosem.NewRegister(energy.Instance, func(*cosem.Env) (dlms.Data, error) { return dlms.Uint32(123456), nil }, 0, cosem.UnitWattHour),
		},
		Clients: []server.Client{{
			Name: "rw", SAP: sapReadWrite, Links: []string{lan}, Mechanism: server.MechanismGMAC, Setup: setup,
			Policy: security.PolicyAuthenticatedEncrypted,
			Rights: []server.Right{{Class: energy.Class, Instance: energy.Instance, Read: []int8{2}}},
		}},
	}))
	h := server.New(model, &e.device, nil).Handler(lan)
	e.dialer = listen(b, func(ctx context.Context, ln net.Listener) error {
		return wrapper.Serve(ctx, ln, h, wrapper.Options{})
	})
	return e
}

// benchKey is one end's half of the long-term key; its counters are reserved in large blocks, as on a disk.
func benchKey(k key.Unicast) security.LongTerm {
	return security.LongTerm{
		Cipher: ok(security.NewCipher(ok(k.AEAD()), key.Authentication{})),
		Send:   ok(security.NewBlockCounter(security.BlockConfig{Reserve: func(security.Reservation) error { return nil }})),
		Floor:  ok(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})),
	}
}

func (e *bench) associate(ctx context.Context, conn net.Conn) (*client.Association, error) {
	return client.Open(ctx, wrapper.NewConn(conn, sapReadWrite, dlms.SAPManagement), client.Linky(own, title, e.client, rand.Reader))
}

// readsPerAssociation keeps below the number of APDUs after which a meter ends an association.
const readsPerAssociation = 60_000

// BenchmarkWireGet reads one register under the dedicated key of an open association. When the association has
// served its number of APDUs another one is opened on the same connection, within the time measured.
func BenchmarkWireGet(b *testing.B) {
	e := newBench(b)
	ctx, cancel := context.WithCancel(context.Background()) // one that can end, as in any real program
	defer cancel()
	conn := ok(e.dial(ctx))
	defer func() { _ = conn.Close() }()
	a := ok(e.associate(ctx, conn))
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		if n%readsPerAssociation == 0 {
			a = ok(e.associate(ctx, conn))
		}
		if _, err := a.Get(ctx, energy); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWireGetFloor echoes the bytes of that exchange on a bare TCP connection.
func BenchmarkWireGetFloor(b *testing.B) {
	sizes := newBench(b).record(b)[2:]
	d := echoServer(b, sizes)
	conn := ok(d.dial(context.Background()))
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		echo(b, conn, sizes, buf)
	}
}

// BenchmarkWireAssociate connects and associates: AARQ and AARE with a fresh dedicated key, and passes 3 and 4 of
// HLS-GMAC. There is no release.
func BenchmarkWireAssociate(b *testing.B) {
	e := newBench(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		conn, err := e.dial(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.associate(ctx, conn); err != nil {
			b.Fatal(err)
		}
		_ = conn.Close()
	}
}

// BenchmarkWireAssociateFloor connects and echoes the bytes of that exchange.
func BenchmarkWireAssociateFloor(b *testing.B) {
	sizes := newBench(b).record(b)[:2]
	d := echoServer(b, sizes)
	ctx := context.Background()
	buf := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := d.dial(ctx)
		if err != nil {
			b.Fatal(err)
		}
		echo(b, conn, sizes, buf)
		_ = conn.Close()
	}
}

// exchange is the number of bytes of a request and of its answer on the line.
type exchange struct{ request, answer int }

// record associates and reads once, and returns the sizes of the three exchanges.
func (e *bench) record(b *testing.B) []exchange {
	b.Helper()
	ctx := context.Background()
	c := &counting{Conn: ok(e.dial(ctx))}
	defer func() { _ = c.Close() }()
	a := ok(e.associate(ctx, c))
	ok(a.Get(ctx, energy))
	if len(c.seen) != 3 {
		b.Fatalf("want three exchanges, got %v", c.seen)
	}
	return c.seen
}

type counting struct {
	net.Conn
	seen []exchange
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.seen = append(c.seen, exchange{request: n})
	return n, err
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.seen[len(c.seen)-1].answer += n
	return n, err
}

// echoServer answers each exchange of sizes in turn, over and over, on every connection.
func echoServer(b *testing.B, sizes []exchange) dialer {
	b.Helper()
	return listen(b, func(ctx context.Context, ln net.Listener) error {
		stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
		defer stop()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return nil //nolint:nilerr // it ends with its context
			}
			go serveEcho(conn, sizes)
		}
	})
}

func serveEcho(conn net.Conn, sizes []exchange) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1024)
	for {
		for _, x := range sizes {
			if _, err := io.ReadFull(conn, buf[:x.request]); err != nil {
				return
			}
			if _, err := conn.Write(buf[:x.answer]); err != nil {
				return
			}
		}
	}
}

func echo(b *testing.B, conn net.Conn, sizes []exchange, buf []byte) {
	b.Helper()
	for _, x := range sizes {
		if _, err := conn.Write(buf[:x.request]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf[:x.answer]); err != nil {
			b.Fatal(err)
		}
	}
}
