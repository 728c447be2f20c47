package concentrator

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/role"
)

// scanPause is the least time between two searches for a meter that is missed.
const scanPause = 2 * time.Second

// lan is the local network: its lines, and which meter is said to be on which.
type lan struct {
	lines    []Line
	parallel int
	timeout  time.Duration
	now      func() time.Time
	log      *slog.Logger
	in, out  atomic.Uint64

	mu    sync.Mutex
	said  map[Line]dlms.SystemTitle
	prove map[Line]dlms.SystemTitle // by an association

	scanning chan struct{}
	scanned  time.Time // guarded by mu
}

func newLAN(cfg Config, deps Deps) (*lan, error) {
	n := &lan{
		parallel: cfg.Parallel, timeout: cfg.Timeout, now: deps.Now, log: deps.Log, scanning: make(chan struct{}, 1),
		said: map[Line]dlms.SystemTitle{}, prove: map[Line]dlms.SystemTitle{},
	}
	if deps.Lines != nil {
		n.lines = deps.Lines
		return n, nil
	}
	list, err := addresses(cfg.LAN)
	for _, a := range list {
		n.lines = append(n.lines, newLine(a, cfg, &n.in, &n.out))
	}
	return n, err
}

func (n *lan) close() {
	for _, l := range n.lines {
		l.Close()
	}
}

// serverTitle is the attribute that says who a meter is (BB 4.4.7, Security setup, server_system_title).
func serverTitle() dlms.AttributeRef {
	setup, _ := role.CCLAN.Setup()
	return dlms.AttributeRef{Class: dlms.ClassSecuritySetup, Instance: setup, Attribute: 5}
}

// ask reads, as the public client, who the meter on a line says it is. Anybody may say anything: it is a hint.
func (n *lan) ask(ctx context.Context, l Line) (dlms.SystemTitle, error) {
	p := &pipe{line: l, client: dlms.SAPPublic, server: role.SAPServer}
	a, err := client.Open(ctx, p, client.Config{Timeout: n.timeout})
	if err != nil {
		return dlms.SystemTitle{}, err
	}
	v, err := a.Get(ctx, serverTitle())
	if err != nil {
		return dlms.SystemTitle{}, err
	}
	_ = a.Release(ctx) // the answer is in hand
	return dlms.SystemTitleFromBytes(v.Bytes())
}

// scan asks on every line that has no meter yet.
func (n *lan) scan(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	select {
	case n.scanning <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-n.scanning }()
	slots := make(chan struct{}, n.parallel)
	var wg sync.WaitGroup
	for _, l := range n.silent() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t, err := n.ask(ctx, l)
			if err != nil {
				n.log.Debug("lan.silent", "address", l.Address(), "error", err)
				return
			}
			n.hear(l, t)
		})
	}
	wg.Wait()
}

func (n *lan) silent() []Line {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Line
	for _, l := range n.lines {
		if n.said[l].IsZero() {
			out = append(out, l)
		}
	}
	return out
}

func (n *lan) hear(l Line, t dlms.SystemTitle) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said[l] = t
	n.log.Info("lan.found", "meter", t.String(), "address", l.Address())
}

// proven notes that an association with the meter was opened on the line.
func (n *lan) proven(l Line, t dlms.SystemTitle) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.said[l], n.prove[l] = t, t
}

// forget drops what is known of a line, so that it is asked again.
func (n *lan) forget(l Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.said, l)
	delete(n.prove, l)
}

// find returns the lines where the meter may be, the one where it proved itself first, searching if there is none.
func (n *lan) find(ctx context.Context, t dlms.SystemTitle) []Line {
	if found := n.known(t); len(found) > 0 {
		return found
	}
	n.search(ctx)
	return n.known(t)
}

// search scans, unless somebody just did.
func (n *lan) search(ctx context.Context) {
	now := n.now()
	n.mu.Lock()
	since := now.Sub(n.scanned)
	fresh := since >= 0 && since < scanPause // a clock that went back counts as a long time
	if !fresh {
		n.scanned = now
	}
	n.mu.Unlock()
	if !fresh {
		n.scan(ctx)
		return
	}
	if ctx.Err() != nil {
		return
	}
	select { // the scan that may be under way
	case n.scanning <- struct{}{}:
		<-n.scanning
	case <-ctx.Done():
	}
}

func (n *lan) known(t dlms.SystemTitle) []Line {
	n.mu.Lock()
	defer n.mu.Unlock()
	var proven, said []Line
	for _, l := range n.lines {
		switch t {
		case n.prove[l]:
			proven = append(proven, l)
		case n.said[l]:
			said = append(said, l)
		}
	}
	return append(proven, said...)
}

// found lists the meters that are said to be there.
func (n *lan) found() []dlms.SystemTitle {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := []dlms.SystemTitle{}
	for _, t := range n.said {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b dlms.SystemTitle) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(list)
}
