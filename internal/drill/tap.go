package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// Frame is one wrapper frame as it crossed the line (IEC 62056-47).
type Frame struct {
	Time time.Time
	// ToMeter is the direction. Client and Server are the two ends in either direction.
	ToMeter        bool
	Client, Server dlms.SAP
	APDU           []byte
}

// line is a Frame in a recording. What crossed the line is ciphered or public, so it holds no key in clear.
type line struct {
	Time    time.Time `json:"time"`
	ToMeter bool      `json:"to_meter"`
	Client  dlms.SAP  `json:"client"`
	Server  dlms.SAP  `json:"server"`
	APDU    string    `json:"apdu"`
}

// Bounds of a tap.
const (
	maxKept     = 32 << 20 // bytes of APDUs in memory; what comes later is counted and written, and not kept
	maxLine     = 1 << 20  // bytes of one line of a recording; the longest frame takes about 131,200
	maxConns    = 64
	dialTimeout = 5 * time.Second
)

// Tap is a TCP proxy in front of one meter's LAN port that records every wrapper frame: the line is hostile. It is safe
// for concurrent use.
type Tap struct {
	target string
	ln     net.Listener
	cancel context.CancelFunc
	work   sync.WaitGroup
	places chan struct{}

	toMeter, fromMeter atomic.Uint64

	mu     sync.Mutex
	frames []Frame
	kept   int
	record io.Writer
	fresh  bool // nothing was written to record yet
	failed error
}

// NewTap listens on a port of 127.0.0.1 and forwards every connection to target, both ways, until ctx ends or Close.
// record takes a JSON line for each frame, so that a recording survives a restart; it may be nil.
func NewTap(ctx context.Context, target string, record io.Writer) (*Tap, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("drill: tap: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &Tap{
		target: target, ln: ln, cancel: cancel, record: record, fresh: true, places: make(chan struct{}, maxConns),
	}
	t.work.Add(2)
	go func() {
		defer t.work.Done()
		<-ctx.Done()
		_ = ln.Close() // it ends accept, and cannot be mended here
	}()
	go func() {
		defer t.work.Done()
		t.accept(ctx)
	}()
	return t, nil
}

// Addr returns where the tap listens, "127.0.0.1:PORT".
func (t *Tap) Addr() string { return t.ln.Addr().String() }

// Bytes returns how many bytes crossed the line in each direction, headers of the wrapper included.
func (t *Tap) Bytes() (toMeter, fromMeter uint64) { return t.toMeter.Load(), t.fromMeter.Load() }

// Frames returns the recording in the order of the line. The APDUs are shared and must not be written to.
func (t *Tap) Frames() []Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.frames)
}

// Close ends all connections and waits for them. It returns the first error of the recording.
func (t *Tap) Close() error {
	t.cancel()
	t.work.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// Load puts an earlier recording before what was recorded so far. A line that is no frame is passed over: the process
// that wrote it may have ended within it.
func (t *Tap) Load(r io.Reader) error {
	var earlier []Frame
	kept := 0
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		f, ok := parseLine(s.Bytes())
		if !ok || kept+len(f.APDU) > maxKept {
			continue
		}
		kept += len(f.APDU)
		earlier = append(earlier, f)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("drill: recording: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frames, t.kept = append(earlier, t.frames...), t.kept+kept
	return nil
}

func parseLine(b []byte) (Frame, bool) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return Frame{}, false
	}
	apdu, err := hex.DecodeString(l.APDU)
	if err != nil || len(apdu) == 0 {
		return Frame{}, false
	}
	return Frame{l.Time, l.ToMeter, l.Client, l.Server, apdu}, true
}

func (t *Tap) accept(ctx context.Context) {
	for {
		c, err := t.ln.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // nobody is served any more
			}
			return
		}
		if err != nil {
			continue
		}
		select {
		case t.places <- struct{}{}:
			t.work.Add(1)
			go t.serve(ctx, c)
		default:
			_ = c.Close() // one connection too many
		}
	}
}

// serve joins one connection to the meter.
func (t *Tap) serve(ctx context.Context, honest net.Conn) {
	defer func() { <-t.places; t.work.Done() }()
	d := net.Dialer{Timeout: dialTimeout}
	meter, err := d.DialContext(ctx, "tcp", t.target)
	if err != nil {
		_ = honest.Close() // the client sees what it would see of a meter that is not there
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); defer cancel(); t.pump(meter, honest, true) }()
	go func() { defer both.Done(); defer cancel(); t.pump(honest, meter, false) }()
	<-ctx.Done() // either end went, or the tap is closed
	_, _ = honest.Close(), meter.Close()
	both.Wait()
}

// pump carries one direction. A frame is recorded before it is passed on, so that the recording is in the order of
// cause and effect. What is no frame is passed on all the same.
func (t *Tap) pump(to io.Writer, from io.Reader, toMeter bool) {
	frames := wrapper.NewDecoder(0)
	counter := &t.fromMeter
	if toMeter {
		counter = &t.toMeter
	}
	b := make([]byte, 16<<10)
	for broken := false; ; {
		n, err := from.Read(b)
		if n > 0 {
			if !broken {
				frames.Feed(b[:n])
				broken = !t.take(frames, toMeter)
			}
			counter.Add(uint64(n))
			if _, werr := to.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// take records the whole frames of one direction and reports whether the stream still makes sense.
func (t *Tap) take(d *wrapper.Decoder, toMeter bool) bool {
	for {
		f, ok, err := d.Next()
		if err != nil || !ok {
			return err == nil
		}
		got := Frame{Time: time.Now(), ToMeter: toMeter, Client: f.Source, Server: f.Destination, APDU: bytes.Clone(f.APDU)}
		if !toMeter {
			got.Client, got.Server = f.Destination, f.Source
		}
		t.keep(got)
	}
}

func (t *Tap) keep(f Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept+len(f.APDU) <= maxKept {
		t.frames = append(t.frames, f)
		t.kept += len(f.APDU)
	}
	if t.record == nil || t.failed != nil {
		return
	}
	b, err := json.Marshal(line{f.Time, f.ToMeter, f.Client, f.Server, hex.EncodeToString(f.APDU)})
	if err == nil {
		if t.fresh { // the line before may have been cut by the end of its process
			b = append([]byte{'\n'}, b...)
		}
		_, err = t.record.Write(append(b, '\n'))
		t.fresh = false
	}
	if err != nil {
		t.failed = fmt.Errorf("drill: record: %w", err)
	}
}
