package iec62056_test

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/link/iec62056"
)

// A reader at an optical head: the caller owns the port, its speed and the clock.
func ExampleReader() {
	r, err := iec62056.NewReader(iec62056.ReaderConfig{MaxRate: 9600})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("write %q at %d baud\n", r.Output(), iec62056.InitialBaud)
	r.Receive([]byte("/MSL6\\2METER\r\n"))
	fmt.Printf("write %q\n", r.Output())
	r.Receive([]byte("\x06252\r\n")) // a meter that does not confirm: r.Timeout()
	fmt.Println(r.Done(), r.Err(), r.Identification().Text, "HDLC at", r.Rate())
	// Output:
	// write "/?!\r\n" at 300 baud
	// write "\x06252\r\n"
	// true <nil> METER HDLC at 9600
}
