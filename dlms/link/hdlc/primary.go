package hdlc

import (
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Errors of the client's end.
var (
	ErrState    = errors.New("hdlc: not possible in this state")
	ErrNoAnswer = errors.New("hdlc: no answer")
	ErrRefused  = errors.New("hdlc: connection refused (DM)")
	ErrDropped  = errors.New("hdlc: the other end has no connection (DM)")
)

// Config describes the client's end of a link. Addresses must be set; everything else has a default.
type Config struct {
	// Client is the client's address, 1 to 127.
	Client dlms.SAP
	// Server is the upper address: the logical device. dlms.SAPAllStations makes a link that only sends UI frames.
	Server dlms.SAP
	// Physical is the lower address, 0 for none.
	Physical uint16
	// AddressSize is the octets of the server's address: 1, 2 or 4. Default: the shortest that holds both parts.
	AddressSize int
	// Params are what SNRM proposes.
	Params Params
	// MaxAPDU is the longest APDU taken. Default 65,535.
	MaxAPDU int
	// ResponseTimeout is how long the other end may take to answer. Default 5 s.
	ResponseTimeout time.Duration
	// InterOctetTimeout ends a frame in which nothing comes for so long. The standard has some 25 ms for serial
	// lines; networks between the ends need more. Default 1 s.
	InterOctetTimeout time.Duration
	// PollInterval is the pause before a server that had nothing to say is asked again. Default 100 ms.
	PollInterval time.Duration
	// Retries is how often a frame without effect is repeated. Default 3.
	Retries int
	// OnUnnumbered takes the APDUs that come in UI frames: events and pushes of the server at from. It is called
	// while octets are taken in and must not call back; it may keep apdu. What is said in I frames goes on
	// undisturbed. With nil they are handed out like other APDUs, in the order of arrival; at most 8 wait, the rest is
	// dropped.
	OnUnnumbered func(from Address, apdu []byte)
}

func (c Config) withDefaults() (Config, error) {
	var err error
	if c.Params, err = c.Params.withDefaults(); err != nil {
		return c, err
	}
	if c.MaxAPDU <= 0 {
		c.MaxAPDU = DefaultMaxAPDU
	}
	if c.Retries <= 0 {
		c.Retries = 3
	}
	c.ResponseTimeout = orDefault(c.ResponseTimeout, 5*time.Second)
	c.InterOctetTimeout = orDefault(c.InterOctetTimeout, time.Second)
	c.PollInterval = orDefault(c.PollInterval, 100*time.Millisecond)
	return c, nil
}

func orDefault(d, normal time.Duration) time.Duration {
	if d <= 0 {
		return normal
	}
	return d
}

func (c Config) addresses() (client, server Address, err error) {
	client, server = ClientAddress(c.Client), ServerAddress(c.Server, c.Physical)
	if c.AddressSize != 0 {
		server = serverAddress(c.Server, c.Physical, c.AddressSize)
	}
	return client, server, errors.Join(client.check(), server.check())
}

// State is where a link stands.
type State uint8

// The states of the client's end.
const (
	StateDisconnected State = iota
	StateConnecting
	StateConnected
	StateDisconnecting
)

// String returns the name of the state.
func (s State) String() string {
	names := [...]string{"disconnected", "connecting", "connected", "disconnecting"}
	return names[min(int(s), len(names)-1)]
}

// maxInbox is how many APDUs wait for the caller; more are not accepted from the line, so the server repeats them.
const maxInbox = 8

// waiting is what a running timer is for.
type waiting uint8

const (
	waitNothing  waiting = iota
	waitResponse         // the turn is with the server
	waitPoll             // a pause before the server is asked again
)

// received is an APDU that waits for the caller.
type received struct {
	apdu     []byte
	numbered bool
}

// Primary is the client's end of one link as a state machine: octets and the time go in (Receive, Tick), octets
// and APDUs come out (Output, APDU). After every call take Output, write it, and call Tick at Deadline.
//
// It is not safe for concurrent use.
type Primary struct {
	cfg            Config
	client, server Address
	decoder        Decoder
	heard          time.Time // when octets came last
	out            []byte
	inbox          []received
	numbered       int // how many of the inbox came in I frames

	state     State
	reason    error // why the link is disconnected, nil if nobody connected or we closed it
	x         exchange
	turn      bool // this end may speak
	mayRepeat bool // the frame with P was RR: an answer that lacks frames asks for them
	peerBusy  bool // RNR
	triggered bool // an empty UI frame with P was the last word: a UI frame with F answers it
	listening bool
	wait      waiting
	deadline  time.Time
	tries     int // timeouts and repetitions without progress
}

// NewPrimary returns the client's end of a link that is not connected yet.
func NewPrimary(c Config) (*Primary, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	client, server, err := c.addresses()
	if err != nil {
		return nil, err
	}
	return &Primary{cfg: c, client: client, server: server}, nil
}

// State tells where the link stands.
func (p *Primary) State() State { return p.state }

// Err tells why the link ended, nil if it did not or was closed by this end.
func (p *Primary) Err() error { return p.reason }

// Params are the limits in force once connected.
func (p *Primary) Params() Params { return p.x.params }

// Idle reports that the link is connected and all that was to be sent has arrived.
func (p *Primary) Idle() bool { return p.state == StateConnected && p.turn && p.x.idle() }

// Output returns the octets to write, valid until the next call of any method.
func (p *Primary) Output() []byte {
	out := p.out
	p.out = p.out[:0]
	return out
}

// APDU returns the next APDU that has come, without an OnUnnumbered those of UI frames too.
func (p *Primary) APDU() ([]byte, bool) {
	if len(p.inbox) == 0 {
		return nil, false
	}
	next := p.inbox[0]
	p.inbox = p.inbox[1:]
	if next.numbered {
		p.numbered--
	}
	return next.apdu, true
}

// Deadline is when Tick is due, if at all.
func (p *Primary) Deadline() (time.Time, bool) { return p.deadline, p.wait != waitNothing }

// Connect sends SNRM.
func (p *Primary) Connect(now time.Time) error {
	if p.state != StateDisconnected || p.server.Broadcast() {
		return fmt.Errorf("connect: %w: %v to %v", ErrState, p.state, p.server)
	}
	p.state, p.reason, p.tries = StateConnecting, nil, 0
	p.sendSNRM(now)
	return nil
}

// Disconnect sends DISC. What was under way is given up.
func (p *Primary) Disconnect(now time.Time) error {
	if p.state != StateConnected {
		return fmt.Errorf("disconnect: %w: %v", ErrState, p.state)
	}
	p.state, p.tries = StateDisconnecting, 0
	p.command(now, controlDISC, nil)
	return nil
}

// Send sends one APDU in I frames. The one before must have arrived (Idle).
func (p *Primary) Send(now time.Time, apdu []byte) error {
	if p.state != StateConnected || !p.x.idle() {
		return fmt.Errorf("send: %w: %v", ErrState, p.state)
	}
	p.x.load(llcCommand, apdu)
	p.tries = 0
	if p.wait == waitPoll && !p.peerBusy {
		p.wait = waitNothing
	}
	p.advance(now)
	return nil
}

// SendUnnumbered sends one APDU in a UI frame, which nobody acknowledges: the way to all stations at once.
func (p *Primary) SendUnnumbered(apdu []byte) error {
	info := append([]byte(llcCommand), apdu...)
	out, err := AppendFrame(p.out, Frame{Destination: p.server, Source: p.client, Control: controlUI, Info: info})
	p.out = out
	return err
}

// Trigger gives the server one turn to send a UI frame that waits there, by an empty UI frame with P (GB, service
// trigger-event-notification-sending). The link must be idle. A server that knows no such thing costs one response
// timeout.
func (p *Primary) Trigger(now time.Time) error {
	if !p.Idle() {
		return fmt.Errorf("trigger: %w: %v", ErrState, p.state)
	}
	p.mayRepeat, p.triggered = true, true
	p.command(now, controlUI, nil)
	return nil
}

// Listen says whether the server is asked for APDUs while there is nothing to send.
func (p *Primary) Listen(now time.Time, on bool) {
	p.listening = on
	if !on && p.wait == waitPoll {
		p.wait = waitNothing
	}
	p.advance(now)
}

// Receive takes octets that have come.
func (p *Primary) Receive(now time.Time, b []byte) {
	if now.Sub(p.heard) > p.cfg.InterOctetTimeout {
		p.decoder.Abandon()
	}
	p.heard = now
	p.decoder.Feed(b)
	for {
		f, ok := p.decoder.Next()
		if !ok {
			return
		}
		if f.Source == p.server && f.Destination == p.client || p.hears(f) {
			p.handle(now, f)
		}
	}
}

// hears lets UI frames through that were sent to all clients, or by any server to a link with all of them.
func (p *Primary) hears(f Frame) bool {
	to := f.Destination == p.client || f.Destination.Broadcast()
	return f.Control.Kind() == KindUI && to && (f.Source == p.server || p.server.Broadcast())
}

// Tick tells the time. It does nothing before Deadline.
func (p *Primary) Tick(now time.Time) {
	if p.wait == waitNothing {
		p.advance(now)
		return
	}
	if now.Before(p.deadline) {
		return
	}
	if p.wait == waitResponse && !p.try() {
		return
	}
	switch p.state {
	case StateConnecting:
		p.sendSNRM(now)
	case StateDisconnecting:
		p.command(now, controlDISC, nil)
	case StateConnected:
		p.poll(now)
	}
}

// try counts a repetition. When there were too many it ends the link and reports false.
func (p *Primary) try() bool {
	p.tries++
	if p.tries <= p.cfg.Retries {
		return true
	}
	if p.state == StateDisconnecting {
		p.end(nil) // the other end is gone as well, so the goal is reached
	} else {
		p.end(fmt.Errorf("%w: %v was silent %d times %v", ErrNoAnswer, p.server, p.tries, p.cfg.ResponseTimeout))
	}
	return false
}

func (p *Primary) end(reason error) {
	p.state, p.reason = StateDisconnected, reason
	p.x = exchange{}
	p.wait, p.turn, p.peerBusy, p.triggered = waitNothing, false, false, false
}

func (p *Primary) sendSNRM(now time.Time) {
	var info []byte
	if p.cfg.Params != standardParams() {
		info = p.cfg.Params.append(nil)
	}
	p.command(now, controlSNRM, info)
}

// command sends a frame with P and waits for the answer.
func (p *Primary) command(now time.Time, c Control, info []byte) {
	p.emit(Frame{Control: c | pollBit, Info: info})
	p.giveTurn(now)
}

func (p *Primary) giveTurn(now time.Time) {
	p.turn = false
	p.wait, p.deadline = waitResponse, now.Add(p.cfg.ResponseTimeout)
}

// poll asks with RR what the server has received and has to say. It is also the way to recover after a timeout:
// the answer tells which frames to repeat, so that none arrives twice.
func (p *Primary) poll(now time.Time) {
	p.mayRepeat, p.triggered = true, false
	p.command(now, supervisory(controlRR, p.x.next, true), nil)
}

// advance uses the turn, if this end has it.
func (p *Primary) advance(now time.Time) {
	if p.state != StateConnected || !p.turn || p.wait == waitPoll {
		return
	}
	switch {
	case p.peerBusy:
		p.pause(now)
	case !p.x.idle():
		p.sendWindow(now)
	case p.numbered >= maxInbox:
		// The caller takes APDUs first; the server keeps the rest.
	case len(p.x.in) > 0:
		p.poll(now)
	case p.listening && len(p.inbox) == 0:
		p.pause(now)
	}
}

func (p *Primary) pause(now time.Time) {
	p.wait, p.deadline = waitPoll, now.Add(p.cfg.PollInterval)
}

// sendWindow sends all that the window allows, from the first frame not acknowledged, and gives the turn away with
// the last.
func (p *Primary) sendWindow(now time.Time) {
	n := p.x.window()
	for i := range n {
		var f Frame
		p.x.frame(&f, i, i == n-1)
		p.emit(f)
	}
	p.x.sent = n
	p.mayRepeat = false
	p.giveTurn(now)
}

func (p *Primary) emit(f Frame) {
	f.Destination, f.Source = p.server, p.client
	// The addresses were checked and the information field is within MaxInfo, so this cannot fail.
	p.out, _ = AppendFrame(p.out, f)
}
