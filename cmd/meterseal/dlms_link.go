package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/iec62056"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/internal/serial"
)

// linkHelp says how a meter is reached.
const linkHelp = `One of these says where the meter is:
  --connect HOST:PORT   TCP, in the COSEM wrapper
  --hdlc HOST:PORT      TCP, in HDLC: a local port behind a converter
  --serial DEVICE       HDLC on a serial port at --baud, 8N1; with --mode-e through the opening of IEC 62056-21,
                        which an optical head needs: 300 baud, 7E1, then the speed that the meter offers`

// answerTime is how long a meter may take to answer one HDLC frame, the frames' own time on the line apart.
const answerTime = 5 * time.Second

// patience is how many silences HDLC tries again within the time of one answer: it then gives up first, and says why.
const patience = 5

// linkFlags says over which line a meter is reached.
type linkFlags struct {
	connect, hdlc, serial string

	modeE       bool
	baud        int
	device      string
	physical    uint16
	addressSize int
	info        int
	window      int
}

func (f *linkFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.connect, "connect", "", "HOST:PORT of the meter: the COSEM wrapper over TCP")
	s.StringVar(&f.hdlc, "hdlc", "", "HOST:PORT of the meter: HDLC over TCP")
	s.StringVar(&f.serial, "serial", "", "serial port of the meter: HDLC, /dev/ttyUSB0 for example")
	s.BoolVar(&f.modeE, "mode-e", false, "serial: open the port by IEC 62056-21 mode E, as optical heads need it")
	s.IntVar(&f.baud, "baud", 0, "serial: the speed (default 9600); with --mode-e the fastest to take (default what the meter offers)")
	s.StringVar(&f.device, "device-address", "", "serial: whom the opening of mode E is for (default: whoever is there)")
	s.Uint16Var(&f.physical, "physical", 0, "HDLC: lower address of the meter, 0 for none")
	s.IntVar(&f.addressSize, "address-size", 0, "HDLC: octets of the meter's address, 1, 2 or 4 (default: the fewest)")
	s.IntVar(&f.info, "hdlc-info", 0, "HDLC: longest information field to propose, 1 to 2030 (default 128)")
	s.IntVar(&f.window, "hdlc-window", 0, "HDLC: how many frames in a row to propose, 1 to 7 (default 1)")
}

// check refuses flags that make no sense together. as and server are the two ends.
func (f *linkFlags) check(c *cobra.Command, as, server dlms.SAP) error {
	var where []string
	for _, name := range []string{"connect", "hdlc", "serial"} {
		if v, err := c.Flags().GetString(name); err == nil && v != "" {
			where = append(where, "--"+name)
		}
	}
	switch {
	case len(where) == 0:
		return usage(c, "missing: --connect HOST:PORT, --hdlc HOST:PORT or --serial DEVICE")
	case len(where) > 1:
		return usage(c, "want one of %s", strings.Join(where, " and "))
	}
	for _, at := range []string{f.connect, f.hdlc} {
		if _, _, err := net.SplitHostPort(at); at != "" && err != nil {
			return usage(c, "%s: want HOST:PORT, got %q", where[0], at)
		}
	}
	if err := f.checkOnly(c); err != nil || f.connect != "" {
		return err
	}
	if _, err := hdlc.NewPrimary(f.config(as, server, answerTime)); err != nil {
		return usage(c, "%w", err)
	}
	if _, err := iec62056.NewReader(iec62056.ReaderConfig{Address: f.device}); err != nil {
		return usage(c, "--device-address: %w", err)
	}
	if f.baud < 0 || f.baud > 0 && f.baud < iec62056.InitialBaud {
		return usage(c, "--baud: want at least %d, got %d", iec62056.InitialBaud, f.baud)
	}
	return nil
}

// checkOnly refuses flags of a line that was not chosen.
func (f *linkFlags) checkOnly(c *cobra.Command) error {
	for _, only := range []struct {
		ok    bool
		want  string
		names []string
	}{
		{f.serial != "", "--serial", []string{"mode-e", "baud"}},
		{f.modeE, "--mode-e", []string{"device-address"}},
		{f.connect == "", "--hdlc or --serial", []string{"physical", "address-size", "hdlc-info", "hdlc-window"}},
	} {
		for _, name := range only.names {
			if !only.ok && c.Flags().Changed(name) {
				return usage(c, "--%s: want %s with it", name, only.want)
			}
		}
	}
	return nil
}

// String is where the meter is.
func (f *linkFlags) String() string { return f.connect + f.hdlc + f.serial }

func (f *linkFlags) config(as, server dlms.SAP, answer time.Duration) hdlc.Config {
	return hdlc.Config{
		Client: as, Server: server, Physical: f.physical, AddressSize: f.addressSize, ResponseTimeout: answer,
		Params: hdlc.Params{TransmitInfo: f.info, ReceiveInfo: f.info, TransmitWindow: f.window, ReceiveWindow: f.window},
	}
}

// dial opens the line. The clients and servers are named anew each time: one command may speak as two clients.
func (f *linkFlags) dial(ctx context.Context, as, server dlms.SAP, timeout time.Duration, log *slog.Logger) (link.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := f.open(ctx, as, server, min(timeout/patience, answerTime), log)
	if err != nil {
		return nil, fmt.Errorf("connect to the meter: %w", err)
	}
	return conn, nil
}

func (f *linkFlags) open(ctx context.Context, as, server dlms.SAP, answer time.Duration, log *slog.Logger) (link.Conn, error) {
	switch {
	case f.connect != "":
		return wrapper.Dial(ctx, f.connect, as, server)
	case f.hdlc != "":
		return hdlc.Dial(ctx, f.hdlc, f.config(as, server, answer))
	}
	port, err := serial.Open(ctx, serial.Config{Device: f.serial, Baud: f.baud, ModeE: f.modeE, Address: f.device, Log: log})
	if err != nil {
		return nil, err
	}
	conn, err := hdlc.NewConn(port, f.config(as, server, answer+f.onLine(port.Rate())))
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return conn, nil
}

// onLine is how long a window of frames travels both ways, at ten bits an octet.
func (f *linkFlags) onLine(rate int) time.Duration {
	const overhead = 20 // flags, addresses, checks
	octets := (max(f.info, hdlc.DefaultInfo) + overhead) * max(f.window, 1)
	return time.Duration(2*10*octets) * time.Second / time.Duration(max(rate, 1))
}

// linkHint is hintFor of the line to a meter.
func linkHint(err error) string {
	switch {
	case errors.Is(err, hdlc.ErrNoAnswer):
		return "nobody speaks HDLC under this address: check --server, --physical and --address-size, --baud on a serial port (an optical head needs --mode-e), or use --connect if it speaks the COSEM wrapper"
	case errors.Is(err, hdlc.ErrRefused):
		return "the meter takes no connection of this client: check --client, or wait until its other one has ended"
	case errors.Is(err, iec62056.ErrSilent):
		return "check that the head sits on the meter and which port it is; a meter on a bus answers to its --device-address alone; without an optical head try no --mode-e"
	case errors.Is(err, iec62056.ErrNotOffered):
		return "the meter's optical port does not speak HDLC; where it has another port, try that one"
	case errors.Is(err, iec62056.ErrRefused):
		return "try a slower --baud, or wait a minute until the meter has ended what it was doing"
	case errors.Is(err, io.EOF):
		return "the other side closed the connection: check whether it speaks the COSEM wrapper (--connect) or HDLC (--hdlc), and what it says"
	case errors.Is(err, serial.ErrBusy):
		return "another program has the port open: end it"
	case errors.Is(err, serial.ErrNotSerial):
		return "check --serial, and that the port can do the speed"
	}
	return ""
}

// portHint is linkHint of a serial port that the system does not give.
func (f *linkFlags) portHint(err error) error {
	switch {
	case f.serial == "":
	case errors.Is(err, fs.ErrNotExist):
		return withHint(err, "there is no such port: plug it in, and look for it with: ls /dev/ttyUSB* /dev/ttyACM* /dev/serial/by-id/*")
	case errors.Is(err, fs.ErrPermission):
		return withHint(err, "the port belongs to others: join their group, on most systems with: sudo usermod -aG dialout $USER, and log in again")
	}
	return err
}
