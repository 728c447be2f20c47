package server_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// meter is a device with one key. Its counters live in memory: a real one keeps them over a restart, with a
// security.BlockCounter and a FloorConfig.Persist that writes.
type meter struct{ key security.LongTerm }

func (m *meter) SystemTitle() dlms.SystemTitle { return dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1} }

func (m *meter) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &m.key, nil }

func (m *meter) Event(e server.Event) { fmt.Println("meter:", e.Name, e.Kind) }

// hold makes one end's part of a key that both ends know.
func hold(k key.Unicast) (security.LongTerm, error) {
	aead, err := k.AEAD()
	if err != nil {
		return security.LongTerm{}, err
	}
	return security.NewMemoryLongTerm(aead, key.Authentication{})
}

// Serve a meter with one register over TCP, and read it.
func Example() {
	energy := dlms.OBIS{1, 0, 1, 8, 0, 255}
	model, err := server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{
			cosem.NewAssociation(),
			cosem.NewRegister(energy, cosem.Constant(dlms.Uint32(123456)), 0, cosem.UnitWattHour),
		},
		Clients: []server.Client{{
			Name: "reader", SAP: 32, Links: []string{"lan"},
			Mechanism: server.MechanismGMAC, Policy: security.PolicyAuthenticatedEncrypted,
			Rights: []server.Right{{Class: dlms.ClassRegister, Instance: energy, Read: []int8{1, 2, 3}}},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	k, err := key.GenerateUnicast(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	ours, err := hold(k)
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- wrapper.Serve(ctx, listener, server.New(model, &meter{ours}, nil).Handler("lan"), wrapper.Options{})
	}()

	if err := readEnergy(ctx, listener.Addr().String(), k, energy); err != nil {
		fmt.Println(err)
	}
	stop()
	if err := <-served; err != nil {
		fmt.Println(err)
	}
	// Output:
	// meter: reader opened
	// energy: 123456
	// meter: reader closed
}

func readEnergy(ctx context.Context, address string, k key.Unicast, energy dlms.OBIS) error {
	theirs, err := hold(k)
	if err != nil {
		return err
	}
	conn, err := wrapper.Dial(ctx, address, 32, dlms.SAPManagement)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	own, peer := dlms.SystemTitle{'R', 'D', 'R', 0, 0, 0, 0, 9}, (*meter)(nil).SystemTitle()
	a, err := client.Open(ctx, conn, client.Linky(own, peer, theirs, rand.Reader))
	if err != nil {
		return err
	}
	v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassRegister, Instance: energy, Attribute: 2})
	if err != nil {
		return err
	}
	wh, err := v.Uint()
	if err != nil {
		return err
	}
	fmt.Println("energy:", wh)
	return a.Release(ctx)
}
