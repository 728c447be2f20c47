package hdlc_test

import (
	"context"
	"fmt"
	"net"

	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// A meter's end serves whatever answers APDUs; a reader's end asks. Here they speak over TCP; NewConn and ServeConn
// take a serial port.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	meter := link.HandlerFunc(func(_ context.Context, r link.Request) []byte {
		return fmt.Appendf(nil, "client %d asked server %d: %s", r.Client, r.Server, r.APDU)
	})
	served := make(chan error)
	go func() {
		served <- hdlc.Serve(ctx, ln, meter, hdlc.Options{ServerConfig: hdlc.ServerConfig{Physical: 17}})
	}()

	conn, err := hdlc.Dial(ctx, ln.Addr().String(), hdlc.Config{Client: 16, Server: 1, Physical: 17})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := conn.Send(ctx, []byte("how much?")); err != nil { // connects first
		fmt.Println(err)
	}
	answer, err := conn.Receive(ctx)
	fmt.Println(string(answer), err)
	fmt.Println(conn.Close()) // DISC
	cancel()
	fmt.Println(<-served)
	// Output:
	// client 16 asked server 1: how much? <nil>
	// <nil>
	// <nil>
}

// The two ends are state machines: who has no goroutines, or a line of another kind, moves the octets himself.
func ExamplePrimary() {
	p, err := hdlc.NewPrimary(hdlc.Config{Client: 16, Server: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Connect(start); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("write % X\n", p.Output())
	p.Receive(start, []byte{0x7E, 0xA0, 0x07, 0x21, 0x03, 0x73, 0x01, 0x40, 0x7E}) // UA
	fmt.Println(p.State())
	// Output:
	// write 7E A0 07 03 21 93 0F 01 7E
	// connected
}
