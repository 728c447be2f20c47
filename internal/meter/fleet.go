package meter

import (
	"context"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ErrMemoryGone is returned for a meter that served before and whose memory is no longer there.
var ErrMemoryGone = errors.New("meter: its memory is gone; put it back, or take the meter out of service: it cannot start from the factory's keys again")

// Deps is what a fleet or a bench meter is given.
type Deps struct {
	Now  func() time.Time
	Rand io.Reader
	// Log takes what a meter has to tell its maker; nil discards.
	Log *slog.Logger
	// WrapAEAD, if set, stands between every key and its use, for a nonce oracle.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
}

func (d Deps) options(curve *loadcurve.Curve, offset, press time.Duration) Options {
	return Options{
		Now: d.Now, Rand: d.Rand, Log: d.Log, WrapAEAD: d.WrapAEAD, Curve: curve, WorldOffset: offset, PressAfter: press,
	}
}

// Fleet serves meters. It is made with its sockets open, so that their addresses are known before Run.
type Fleet struct {
	meters  []*Meter
	folder  *nvm.Folder
	ports   []port
	log     *slog.Logger
	options Options
}

// port is one socket of one meter.
type port struct {
	meter *Meter
	link  string
	ln    net.Listener
}

// Address says where a meter is reached; an address is nil on a link that is not served.
type Address struct {
	Title      dlms.SystemTitle
	LAN, Local net.Addr
}

// note is what a fleet keeps of its first start.
type note struct {
	// WorldOffset is added to the host's time, in milliseconds.
	WorldOffset int64 `json:"world_offset_ms"`
	// InstalledAt and Household (the start of the built-in curve) are in the world's time.
	InstalledAt time.Time `json:"installed_at"`
	Household   time.Time `json:"household"`
}

const (
	noteName      = "fleet.json"
	bornName      = "meters.txt"
	householdSeed = 1
	aWeek         = 7 * 24 * time.Hour
)

// OpenFleet opens the memories of the meters, makes those that have none, and opens the sockets. Close, or Run to its
// end, gives all of it up.
func OpenFleet(cfg Config, deps Deps) (*Fleet, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if deps.Now == nil || deps.Rand == nil {
		return nil, errors.New("meter: want a clock and a source of randomness")
	}
	rows, err := cfg.rows()
	if err != nil {
		return nil, err
	}
	f := &Fleet{log: deps.Log}
	if f.folder, err = nvm.OpenFolder(cfg.Data); err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	if err := f.open(cfg, deps, rows); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// rows reads the rows of the meters to serve.
func (c *Config) rows() ([]shipment.Meter, error) {
	rows, err := shipment.ReadFactory(c.Factory, c.FactoryIdentity)
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	if c.First+max(c.Count, 1) > len(rows) {
		return nil, fmt.Errorf("meter: want rows %d to %d of %s, it has %d",
			c.First+1, c.First+max(c.Count, 1), c.Factory, len(rows))
	}
	rows = rows[c.First:]
	if c.Count > 0 {
		rows = rows[:c.Count]
	}
	for i, r := range rows {
		if c.Profile != "" && r.Profile != c.Profile {
			return nil, fmt.Errorf("meter: row %d of %s: want profile %s, got %s", c.First+i+1, c.Factory, c.Profile, r.Profile)
		}
	}
	return rows, nil
}

func (f *Fleet) open(cfg Config, deps Deps, rows []shipment.Meter) error {
	n, curve, err := f.firstStart(cfg, deps.Now())
	if err != nil {
		return err
	}
	f.options = deps.options(curve, time.Duration(n.WorldOffset)*time.Millisecond, cfg.PressAfter)
	f.options.Zone = cfg.zone()
	born, err := f.readBorn()
	if err != nil {
		return err
	}
	kinds := map[string]*kind{}
	for i, row := range rows {
		k := kinds[row.Profile]
		if k == nil {
			p, err := profileOf(row.Profile)
			if err != nil {
				return err
			}
			if k, err = newKind(p, f.options); err != nil {
				return err
			}
			kinds[row.Profile] = k
		}
		m, err := f.openMeter(k, cfg.birth(i, row, n), born[row.Title])
		if err != nil {
			return err
		}
		f.meters = append(f.meters, m)
		if err := f.listen(cfg, i, m); err != nil {
			return err
		}
		born[row.Title] = true
	}
	return f.writeBorn(born)
}

// birth is meter i of the fleet, should it have no memory.
func (c *Config) birth(i int, row shipment.Meter, n note) Birth {
	b := Birth{Row: row, Installed: n.InstalledAt, Cold: slices.Contains(c.Clock.Cold, i)}
	b.ScalePerMille, b.Shift = c.Spread.copy(c.First + i)
	if slices.Contains(c.Clock.Wrong, i) {
		b.Offset = c.Clock.Offset
	}
	return b
}

// openMeter restores a meter, or makes it when it never was. A meter that was and has no memory is not made again: with
// the factory's keys it would take old keys back and repeat its counters (laws 4 and 6).
func (f *Fleet) openMeter(k *kind, b Birth, born bool) (*Meter, error) {
	memory := f.folder.Memory(b.Row.Title)
	m, err := restore(k, b.Row.Title, memory)
	if m != nil || err != nil {
		return m, err
	}
	if born {
		return nil, fmt.Errorf("meter %s: %w", b.Row.Title, ErrMemoryGone)
	}
	return bear(k, b, memory)
}

// readBorn lists the meters that ever had a memory in the folder.
func (f *Fleet) readBorn() (map[dlms.SystemTitle]bool, error) {
	b, err := f.folder.Note(bornName)
	if err != nil {
		return nil, err
	}
	born := map[dlms.SystemTitle]bool{}
	for _, line := range strings.Fields(string(b)) {
		title, err := dlms.ParseSystemTitle(line)
		if err != nil {
			return nil, fmt.Errorf("meter: %s in the data folder: %w", bornName, err)
		}
		born[title] = true
	}
	return born, nil
}

// writeBorn is called before any meter serves: what was made and is not in the list has answered nobody.
func (f *Fleet) writeBorn(born map[dlms.SystemTitle]bool) error {
	lines := make([]string, 0, len(born))
	for title := range born {
		lines = append(lines, title.String())
	}
	slices.Sort(lines)
	return f.folder.SetNote(bornName, []byte(strings.Join(lines, "\n")+"\n"))
}

// firstStart decides what holds for the life of the fleet, or reads what was decided.
func (f *Fleet) firstStart(cfg Config, host time.Time) (n note, curve *loadcurve.Curve, err error) {
	kept, err := f.readNote(&n)
	if err != nil {
		return n, nil, err
	}
	if !kept {
		world := host
		if !cfg.Clock.Start.IsZero() {
			world = cfg.Clock.Start
		}
		n.WorldOffset = world.Sub(host).Milliseconds()
		n.InstalledAt, n.Household = cfg.InstalledAt, world.Add(-aWeek).Truncate(aWeek/7)
	}
	if cfg.LoadCurve == "" {
		if !kept && !cfg.InstalledAt.IsZero() && cfg.InstalledAt.Before(n.Household) {
			n.Household = cfg.InstalledAt
		}
		curve = loadcurve.Household(n.Household, householdSeed)
	} else if curve, err = loadcurve.ReadFile(cfg.LoadCurve); err != nil {
		return n, nil, fmt.Errorf("meter: load curve: %w", err)
	}
	if kept {
		return n, curve, nil
	}
	if n.InstalledAt.IsZero() {
		n.InstalledAt = curve.FirstFullDay()
	}
	b, err := json.Marshal(n)
	if err != nil {
		return n, nil, fmt.Errorf("meter: %w", err)
	}
	return n, curve, f.folder.SetNote(noteName, b)
}

func (f *Fleet) readNote(n *note) (bool, error) {
	b, err := f.folder.Note(noteName)
	if b == nil || err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, n); err != nil {
		return false, fmt.Errorf("meter: %s in the data folder: %w", noteName, err)
	}
	return true, nil
}

func (f *Fleet) listen(cfg Config, i int, m *Meter) error {
	for _, l := range []struct{ name, base string }{{LinkLAN, cfg.LANListen}, {LinkLocal, cfg.LocalListen}} {
		if l.base == "" {
			continue
		}
		address, err := portOf(l.base, i)
		if err != nil {
			return fmt.Errorf("meter: %s_listen: %w", l.name, err)
		}
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("meter %s: %s: %w", m.SystemTitle(), l.name, err)
		}
		f.ports = append(f.ports, port{m, l.name, ln})
	}
	return nil
}

// Meters lists the meters in the order of their rows.
func (f *Fleet) Meters() []*Meter { return f.meters }

// Meter returns the meter with a system title.
func (f *Fleet) Meter(title dlms.SystemTitle) (*Meter, bool) {
	for _, m := range f.meters {
		if m.SystemTitle() == title {
			return m, true
		}
	}
	return nil, false
}

// Addresses lists where the meters are reached, in the order of Meters.
func (f *Fleet) Addresses() []Address {
	out := make([]Address, len(f.meters))
	index := make(map[*Meter]int, len(f.meters))
	for i, m := range f.meters {
		out[i].Title, index[m] = m.SystemTitle(), i
	}
	for _, p := range f.ports {
		if at := &out[index[p.meter]]; p.link == LinkLAN {
			at.LAN = p.ln.Addr()
		} else {
			at.Local = p.ln.Addr()
		}
	}
	return out
}

// Now is the world's time: what a clock that is right shows.
func (f *Fleet) Now() time.Time { return f.options.Now().Add(f.options.WorldOffset) }

// Run serves the meters until ctx ends, or until a socket fails, and then closes the fleet.
func (f *Fleet) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range f.ports {
		g.Go(func() error { return p.serve(ctx, f.log) })
	}
	g.Go(func() error { <-ctx.Done(); return nil }) // a fleet without sockets also runs until it is ended
	return errors.Join(g.Wait(), f.Close())
}

// serve serves one socket. The LAN speaks the COSEM wrapper, the local port HDLC.
func (p port) serve(ctx context.Context, log *slog.Logger) error {
	h := p.meter.server.Handler(p.link)
	if p.link == LinkLAN {
		return wrapper.Serve(ctx, p.ln, h, wrapper.Options{Log: log, MaxConns: connsPerPort})
	}
	return hdlc.Serve(ctx, p.ln, h, hdlc.Options{Log: log, MaxConns: connsPerPort})
}

// connsPerPort is how many connections one socket of one meter has at once (ours).
const connsPerPort = 16

// Close gives up sockets and memories. It may be called again.
func (f *Fleet) Close() error {
	for _, p := range f.ports {
		_ = p.ln.Close() // it may be closed already
	}
	f.ports = nil
	var errs []error
	for _, m := range f.meters {
		errs = append(errs, m.Close())
	}
	if f.folder != nil {
		errs = append(errs, f.folder.Close())
		f.folder = nil
	}
	return errors.Join(errs...)
}
