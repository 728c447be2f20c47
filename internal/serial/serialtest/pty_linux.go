// Package serialtest stands in for a meter at a serial port where there is no hardware: a pair of pseudo terminals, at
// whose one end a meter answers openings of mode E, and whose other end is a device that a program can open.
package serialtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meterseal/meterseal/dlms/link/iec62056"
)

// Open makes a pair: the meter's end, and the name of the device of the other. It is closed at the end of the test.
func Open(t testing.TB) (meter *os.File, device string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	controlled := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(controlled, err); err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprintf("/dev/pts/%d", n)
}

// Meter is a meter with an optical port.
type Meter struct {
	// Opening is how it answers in mode E; nil for a port that speaks HDLC at once.
	Opening *iec62056.MeterConfig
	// Echo gives back all that is received, as some optical heads do.
	Echo bool
	// Serve serves one session, from the opening until the reader closes the port.
	Serve func(ctx context.Context, rw io.ReadWriteCloser) error
}

// Run serves sessions at the meter's end until the test ends.
func (m Meter) Run(t testing.TB, end *os.File) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := &session{ctx: ctx, end: end, echo: m.Echo}
		for ctx.Err() == nil {
			if err := m.session(s); err != nil && ctx.Err() == nil {
				t.Errorf("meter at the port: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = end.SetReadDeadline(time.Unix(1, 0))
		<-done
	})
}

func (m Meter) session(s *session) error {
	if err := s.begin(); err != nil || s.ctx.Err() != nil {
		return err
	}
	if m.Opening != nil {
		opened, err := m.open(s)
		if err != nil || !opened {
			return err
		}
	}
	s.serving = m.Opening != nil
	return m.Serve(s.ctx, s)
}

// open answers until a reader has asked for HDLC. It reports false when he has gone, or the test has ended.
func (m Meter) open(s *session) (bool, error) {
	o, err := iec62056.NewMeter(*m.Opening)
	if err != nil {
		return false, err
	}
	for b := make([]byte, 64); !o.Done(); {
		n, err := s.Read(b)
		if err != nil {
			return false, nil
		}
		o.Receive(b[:n])
		if _, err := s.end.Write(o.Output()); err != nil {
			return false, err
		}
	}
	return true, nil
}

// session is the line from the first octet of a reader until he closes the port, or until he opens it anew: a reader
// that is quick to come back is not seen to have gone.
type session struct {
	ctx     context.Context //nolint:containedctx // it is the life of the line, as a socket's would be
	end     *os.File
	echo    bool
	begun   bool
	serving bool
	next    []byte // what a new opening began with
}

func (s *session) begin() error {
	s.begun, s.serving = false, false
	return s.end.SetReadDeadline(time.Time{})
}

func (s *session) Read(b []byte) (int, error) {
	if n := copy(b, s.next); n > 0 {
		s.next = s.next[n:]
		return n, nil
	}
	for {
		n, err := s.end.Read(b)
		switch {
		case err == nil:
			s.begun = true
			if s.echo {
				_, err = s.end.Write(b[:n])
			}
			if s.serving && b[0] == '/' {
				s.next = bytes.Clone(b[:n])
				return 0, io.EOF
			}
			return n, err
		case !errors.Is(err, syscall.EIO) || s.begun: // EIO: nobody has the device open
			return 0, io.EOF
		case s.ctx.Err() != nil:
			return 0, io.EOF
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *session) Write(b []byte) (int, error) { return s.end.Write(b) }

// Close ends a Read.
func (s *session) Close() error { return s.end.SetReadDeadline(time.Unix(1, 0)) }
