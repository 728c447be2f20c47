package hdlc_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// open is a meter without keys.
type open struct{}

func (open) SystemTitle() dlms.SystemTitle                  { return dlms.SystemTitle{'M', 'S', 'L', 1} }
func (open) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return nil, errors.New("no key") }
func (open) Event(server.Event)                             {}

// A meter pushes while it is being read: each answer is that of its request, and each push reaches the reader, whether
// the link hands it out or the association.
func TestPushesAndReadsShareAnAssociationsLink(t *testing.T) {
	for _, name := range []string{"by the link", "by the association", "by nobody"} {
		t.Run(name, func(t *testing.T) {
			pushes := make(chan hdlc.Push, 1)
			got := make(chan uint32, 100)
			take := func(n apdu.DataNotification) { got <- uint32(n.ID) }
			c := hdlc.Config{Client: 16, Server: 1}
			cfg := client.Config{Rand: rand.Reader, Timeout: 20 * time.Second}
			switch name {
			case "by the link":
				cfg.Notify = func(client.Notification) { t.Error("the association got what is the link's") }
				c.OnUnnumbered = func(_ hdlc.Address, b []byte) {
					n, err := apdu.ParseDataNotification(b)
					if err != nil {
						t.Error(err)
					}
					take(n)
				}
			case "by the association":
				cfg.Notify = func(n client.Notification) { take(*n.Data) }
			}
			a := associate(t, c, cfg, pushes)
			const count = 20
			for i := range uint32(count) {
				pushes <- hdlc.Push{Client: 16, Server: 1, APDU: notification(t, i)}
				v, err := a.Get(t.Context(), dlms.AttributeRef{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: 2})
				if n, _ := v.Uint(); err != nil || n != 1234 {
					t.Fatalf("get %d: got %v, %v", i, v, err)
				}
			}
			if name == "by nobody" {
				return
			}
			listening, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			heard := make(chan error, 1)
			go func() { heard <- a.Listen(listening) }()
			for want := range uint32(count) {
				select {
				case id := <-got:
					if id != want {
						t.Errorf("push %d came as %d", want, id)
					}
				case err := <-heard:
					t.Fatalf("push %d did not come: %v", want, err)
				}
			}
			stop()
			<-heard
		})
	}
}

func notification(t *testing.T, id uint32) []byte {
	t.Helper()
	b, err := apdu.DataNotification{ID: apdu.LongInvokeID(id), Body: dlms.Uint8(1)}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// associate reads a meter with one register over an in-memory line.
func associate(t *testing.T, c hdlc.Config, cfg client.Config, pushes <-chan hdlc.Push) *client.Association {
	t.Helper()
	energy := dlms.OBIS{1, 0, 1, 8, 0, 255}
	model, err := server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{cosem.NewRegister(energy, cosem.Constant(dlms.Uint32(1234)), 0, cosem.UnitWattHour)},
		Clients: []server.Client{{
			Name: "public", SAP: 16, Links: []string{"local"},
			Rights: []server.Right{{Class: dlms.ClassRegister, Instance: energy, Read: []int8{1, 2, 3}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(model, open{}, nil)
	h := link.HandlerFunc(func(ctx context.Context, r link.Request) []byte { return s.Handle(ctx, "local", r) })
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- hdlc.ServeConn(ctx, far, h, hdlc.Options{Push: pushes}) }()
	conn, err := hdlc.NewConn(near, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		<-served
	})
	a, err := client.Open(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
