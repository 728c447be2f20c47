// Package serial opens a serial port to a meter: with HDLC at once, or through the opening of protocol mode E (package
// iec62056), which is performed here at 300 baud, seven bits and even parity, before HDLC goes on at the speed agreed.
//
// The serial line itself is go.bug.st/serial: no operating system offers ports through the standard library.
package serial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"go.bug.st/serial"

	"github.com/meterseal/meterseal/dlms/link/iec62056"
)

// Errors of a port that cannot be opened. A missing one wraps fs.ErrNotExist, one that is not ours fs.ErrPermission.
var (
	// ErrBusy: another process has the port open.
	ErrBusy = errors.New("the port is in use")
	// ErrNotSerial: the file is no serial port, or cannot do what is asked of it.
	ErrNotSerial = errors.New("no serial port that can do this")
)

// DefaultBaud is the speed of HDLC without mode E (GB, physical layer: 9600 baud, 8N1).
const DefaultBaud = 9600

// Config describes a port.
type Config struct {
	// Device is the port as the system calls it: /dev/ttyUSB0, COM3.
	Device string
	// Baud is the speed of HDLC, 8N1; 0 is DefaultBaud. With ModeE it is the fastest that is asked for, and 0 is what
	// the meter offers.
	Baud int
	// ModeE opens the port in protocol mode E.
	ModeE bool
	// Address is the device address of the opening, empty for whoever is there.
	Address string
	// Wait is how long a meter may be silent within the opening. Default 2 s: the standard gives it 1.5.
	Wait time.Duration
	// Settle is how long the meter has to change its speed after the opening. Default 300 ms.
	Settle time.Duration
	// Log gets what was agreed. Default: nowhere.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Wait <= 0 {
		c.Wait = 2 * time.Second
	}
	if c.Settle <= 0 {
		c.Settle = 300 * time.Millisecond
	}
	if c.Baud == 0 && !c.ModeE {
		c.Baud = DefaultBaud
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// wire is what a port of the system can do.
type wire interface {
	Read(b []byte) (int, error) // (0, nil) after the read timeout
	Write(b []byte) (int, error)
	Close() error
	Drain() error
	ResetInputBuffer() error
	SetMode(m *serial.Mode) error
	SetReadTimeout(d time.Duration) error
}

// Port is an open port on which HDLC may begin. One goroutine may read while another writes; Close ends a Read.
type Port struct {
	wire wire
	rate int
	id   iec62056.Identification

	mu   sync.Mutex
	echo *iec62056.Echo // nil where nothing comes back
}

// Open opens a port, and in mode E agrees with the meter on its speed. It returns soon after ctx ends.
func Open(ctx context.Context, c Config) (*Port, error) {
	c = c.withDefaults()
	if c.Baud < 0 || c.Wait > time.Minute {
		return nil, fmt.Errorf("serial: want a speed of at least %d baud and a wait of at most a minute, got %d and %v", iec62056.InitialBaud, c.Baud, c.Wait)
	}
	mode := hdlcMode(c.Baud)
	if c.ModeE {
		mode = openingMode()
	}
	w, err := serial.Open(c.Device, mode)
	if err != nil {
		return nil, fmt.Errorf("serial: open %s: %w", c.Device, plain(err))
	}
	p, err := open(ctx, w, c)
	if err != nil {
		_ = w.Close() // the opening is what failed
		return nil, fmt.Errorf("serial: %s: %w", c.Device, err)
	}
	return p, nil
}

func hdlcMode(rate int) *serial.Mode {
	return &serial.Mode{BaudRate: rate, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit}
}

func openingMode() *serial.Mode {
	return &serial.Mode{BaudRate: iec62056.InitialBaud, DataBits: 7, Parity: serial.EvenParity, StopBits: serial.OneStopBit}
}

// plain says the library's error codes in errors that callers know.
func plain(err error) error {
	var p *serial.PortError
	if !errors.As(err, &p) {
		return err
	}
	switch p.Code() {
	case serial.PortBusy:
		return ErrBusy
	case serial.PortNotFound:
		return fs.ErrNotExist
	case serial.PermissionDenied:
		return fs.ErrPermission
	case serial.InvalidSerialPort, serial.InvalidSpeed, serial.InvalidDataBits, serial.InvalidParity, serial.InvalidStopBits:
		return fmt.Errorf("%w: %w", ErrNotSerial, err)
	}
	return err
}

// open makes a port of a wire, which the end of ctx closes until then.
func open(ctx context.Context, w wire, c Config) (*Port, error) {
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	p := &Port{wire: w, rate: c.Baud}
	var err error
	if c.ModeE {
		err = p.modeE(ctx, c)
	}
	if !stop() || ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return p, err
}

// slice is how long one read waits: silence is counted in slices, so that no clock is needed.
const slice = 50 * time.Millisecond

// modeE performs the opening and changes to the speed agreed.
func (p *Port) modeE(ctx context.Context, c Config) error {
	r, err := iec62056.NewReader(iec62056.ReaderConfig{Address: c.Address, MaxRate: c.Baud})
	if err != nil {
		return err
	}
	if err := p.wire.SetReadTimeout(slice); err != nil {
		return err
	}
	for quiet := time.Duration(0); !r.Done(); {
		n, err := p.exchange(r)
		if err != nil {
			return err
		}
		if quiet += slice; n > 0 {
			quiet = 0
		}
		if quiet >= c.Wait {
			quiet = 0
			r.Timeout()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if r.Err() != nil {
		return r.Err()
	}
	p.rate, p.id = r.Rate(), r.Identification()
	if r.Echoing() {
		p.echo = new(iec62056.Echo)
	}
	c.Log.Debug("serial.mode_e.agreed", "maker", p.id.Maker, "identification", p.id.Text, "baud", p.rate,
		"confirmed", r.Confirmed(), "echo", r.Echoing())
	return p.change(ctx, c.Settle)
}

// exchange writes what the opening has to say and reads for one slice.
func (p *Port) exchange(r *iec62056.Reader) (n int, err error) {
	if out := r.Output(); len(out) > 0 {
		if _, err := p.wire.Write(out); err != nil {
			return 0, fmt.Errorf("write: %w", plain(err))
		}
		if err := p.wire.Drain(); err != nil {
			return 0, fmt.Errorf("write: %w", plain(err))
		}
	}
	var b [64]byte
	if n, err = p.wire.Read(b[:]); err != nil {
		return n, fmt.Errorf("read: %w", plain(err))
	}
	r.Receive(b[:n])
	return n, nil
}

// change goes over to HDLC. The meter changes too, and makes noise meanwhile.
func (p *Port) change(ctx context.Context, settle time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settle):
	}
	if err := p.wire.SetMode(hdlcMode(p.rate)); err != nil {
		return fmt.Errorf("change to %d baud: %w", p.rate, plain(err))
	}
	if err := p.wire.ResetInputBuffer(); err != nil {
		return fmt.Errorf("change to %d baud: %w", p.rate, plain(err))
	}
	return p.wire.SetReadTimeout(serial.NoTimeout)
}

// Rate is the speed in force, in bits per second.
func (p *Port) Rate() int { return p.rate }

// Identification is what the meter said of itself in mode E, else the zero value.
func (p *Port) Identification() iec62056.Identification { return p.id }

// Read reads what comes, without the echo of an optical head.
func (p *Port) Read(b []byte) (int, error) {
	for {
		n, err := p.wire.Read(b)
		if err != nil {
			return 0, fmt.Errorf("serial: read: %w", plain(err))
		}
		if n = p.strip(b[:n]); n > 0 || len(b) == 0 {
			return n, nil
		}
	}
}

func (p *Port) strip(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.echo == nil {
		return len(b)
	}
	return copy(b, p.echo.Strip(b))
}

// Write writes all of b.
func (p *Port) Write(b []byte) (int, error) {
	p.sent(b)
	for done := 0; done < len(b); {
		n, err := p.wire.Write(b[done:])
		if done += n; err != nil {
			return done, fmt.Errorf("serial: write: %w", plain(err))
		}
	}
	return len(b), nil
}

func (p *Port) sent(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.echo != nil {
		p.echo.Sent(b)
	}
}

// Close closes the port.
func (p *Port) Close() error { return p.wire.Close() }
