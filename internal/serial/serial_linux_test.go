package serial_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/iec62056"
	"github.com/meterseal/meterseal/internal/serial"
	"github.com/meterseal/meterseal/internal/serial/serialtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var opening = &iec62056.MeterConfig{
	Identification: iec62056.Identification{Maker: "MSL", Baud: '6', Text: "METER"}, Address: "12345",
}

// echo answers with what it was asked.
func echo(ctx context.Context, rw io.ReadWriteCloser) error {
	h := link.HandlerFunc(func(_ context.Context, r link.Request) []byte { return append([]byte("re:"), r.APDU...) })
	return hdlc.ServeConn(ctx, rw, h, hdlc.Options{})
}

// meter starts a meter at a port and returns the device.
func meter(t *testing.T, m serialtest.Meter) string {
	t.Helper()
	if m.Serve == nil {
		m.Serve = echo
	}
	end, device := serialtest.Open(t)
	m.Run(t, end)
	return device
}

func open(t *testing.T, c serial.Config) *serial.Port {
	t.Helper()
	c.Settle = time.Millisecond
	p, err := serial.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantAnswers(t *testing.T, p *serial.Port) {
	t.Helper()
	c, err := hdlc.NewConn(p, hdlc.Config{Client: 1, Server: 1, ResponseTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 100, 3000} {
		apdu := bytes.Repeat([]byte{byte(n)}, n)
		if err := c.Send(t.Context(), apdu); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Receive(t.Context()); err != nil || string(got) != "re:"+string(apdu) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestModeELeadsToHDLCAgainAndAgain(t *testing.T) {
	device := meter(t, serialtest.Meter{Opening: opening})
	for _, c := range []struct {
		address string
		most    int
		want    int
	}{{"", 0, 19200}, {"12345", 9600, 9600}, {"0012345", 115200, 19200}} {
		p := open(t, serial.Config{Device: device, ModeE: true, Address: c.address, Baud: c.most})
		if id := p.Identification(); p.Rate() != c.want || id.Maker != "MSL" || id.Text != "METER" {
			t.Errorf("got %d baud, %+v", p.Rate(), id)
		}
		wantAnswers(t, p)
	}
}

// With the addresses 1 and 1 a frame that comes back looks like one of the meter's.
func TestAHeadThatEchoesDisturbsNeitherTheOpeningNorHDLC(t *testing.T) {
	device := meter(t, serialtest.Meter{Opening: opening, Echo: true})
	wantAnswers(t, open(t, serial.Config{Device: device, ModeE: true}))
}

func TestWithoutModeEHDLCBeginsAtOnce(t *testing.T) {
	p := open(t, serial.Config{Device: meter(t, serialtest.Meter{})})
	if p.Rate() != serial.DefaultBaud || p.Identification().Maker != "" {
		t.Errorf("got %d baud, %+v", p.Rate(), p.Identification())
	}
	wantAnswers(t, p)
}

func TestASilentMeterEndsTheOpeningInTime(t *testing.T) {
	device := meter(t, serialtest.Meter{Opening: opening})
	_, err := serial.Open(t.Context(), serial.Config{Device: device, ModeE: true, Address: "999", Wait: 100 * time.Millisecond})
	if !errors.Is(err, iec62056.ErrSilent) || !strings.Contains(err.Error(), device) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = serial.Open(ctx, serial.Config{Device: device, ModeE: true, Address: "999", Wait: time.Minute})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

func TestWhatIsNoPortIsNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]error{file: serial.ErrNotSerial, filepath.Join(dir, "missing"): fs.ErrNotExist} {
		if _, err := serial.Open(t.Context(), serial.Config{Device: device}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if _, err := serial.Open(t.Context(), serial.Config{Device: meter(t, serialtest.Meter{}), Baud: -1}); err == nil {
		t.Error("-1 baud: want an error")
	}
}

func TestCloseEndsARead(t *testing.T) {
	p := open(t, serial.Config{Device: meter(t, serialtest.Meter{})})
	read := make(chan error)
	go func() {
		_, err := p.Read(make([]byte, 10))
		read <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err == nil {
		t.Error("want an error")
	}
}
