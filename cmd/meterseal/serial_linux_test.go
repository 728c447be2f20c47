package main

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/meterseal/meterseal/dlms/link/iec62056"
	"github.com/meterseal/meterseal/internal/serial/serialtest"
)

// portOf puts a meter that serves HDLC over TCP behind an optical port, and returns the port's device.
func portOf(t *testing.T, meter string, opening *iec62056.MeterConfig, echo bool) string {
	t.Helper()
	end, device := serialtest.Open(t)
	serialtest.Meter{Opening: opening, Echo: echo, Serve: func(_ context.Context, rw io.ReadWriteCloser) error {
		conn, err := net.Dial("tcp", meter)
		if err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(rw, conn)
			done <- err
		}()
		_, err = io.Copy(conn, rw)
		err = errors.Join(err, conn.Close())
		if e := <-done; !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
		return err
	}}.Run(t, end)
	return device
}

func TestABenchMeterIsBrowsedThroughAnOpticalHeadInModeE(t *testing.T) {
	opening := &iec62056.MeterConfig{
		Identification: iec62056.Identification{Maker: "MSL", Baud: '6', Text: "METER"}, Address: "12345",
	}
	for _, echo := range []bool{false, true} {
		r, s, at := hdlcRig(t)
		to := " --serial " + portOf(t, at, opening, echo) + " "
		r.ok("dlms browse" + to + "--mode-e --log-level debug").stdout("logical device name").
			stderr("serial.mode_e.agreed.*maker=MSL.*baud=19200").stderr("^meterseal: 4 objects$")
		r.ok("dlms browse" + to + "--mode-e --device-address 12345 --baud 9600 --keys keys.json --values 1.0.1 0.0.1").
			stdout(`^ +2 +value +read +[1-9][0-9]* Wh$`).stdout("2020-03-01 Sun 02:0").stderr("^meterseal: 2 objects$")
		r.ok("dlms profile" + to + "--mode-e --hdlc-window 3 --keys keys.json --last 48 1.0.99.1.0.255").stderr("48 rows")
		s.stop()
	}
}

func TestASerialPortWithoutModeEIsHDLCAtOnce(t *testing.T) {
	r, s, at := hdlcRig(t)
	to := " --serial " + portOf(t, at, nil, false) + " "
	r.ok("dlms get" + to + "1/0.0.42.0.0.255/2").stdout(`"MSL`)
	r.ok("dlms get" + to + "--baud 115200 --keys keys.json 3/1.0.1.8.0.255/2").stdout("Wh$")
	s.stop()
}

func TestAMeterThatIsNotAtTheHeadIsToldWithWhatToDo(t *testing.T) {
	r := newRig(t)
	device := portOf(t, closedPort(t), &iec62056.MeterConfig{
		Identification: iec62056.Identification{Maker: "MSL", Baud: '6'}, Address: "1",
	}, false)
	r.exits(exitFailed, "dlms browse --mode-e --device-address 2 --serial "+device).silent().
		stderr("the meter does not answer").stderr("hint: check that the head sits on the meter")
	r.exits(exitFailed, "dlms browse --mode-e --device-address 2 --timeout 200ms --serial "+device).silent().stderr("hint: ")
}
