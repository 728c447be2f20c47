package central

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/relay"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
)

// Actors of the audit log, beside people, who are named by their certificates. The owner is whoever works on the data directory
// of a central system at rest.
const (
	actorOwner    audit.Actor = "person:owner"
	actorRotation audit.Actor = "system:rotation"
	actorIS       audit.Actor = "system:is"
)

// IS is one running central system; it is an api.Backend.
type IS struct {
	cfg  Config
	deps Deps
	own  dlms.SystemTitle
	// auditKey is the public key of the audit log.
	auditKey string

	store      *store.Store // as this node
	leases     *lease.Manager
	rootTurn   func(ctx context.Context) (context.Context, bool, error) // to seal anew, one node at a time
	audit      *audit.Log
	root       vault.Hold
	vault      *vault.Software
	gate       *access.Gate
	fleet      *fleet.Fleet
	collector  *collect.Collector
	hand       *relay.Hand
	reconciler *rotation.Reconciler
	campaigns  *rotation.Campaigns
	server     *bus.Server // nil where the way to the concentrators came from outside
	wan        WAN
	reach      *reach // nil like server

	provisioning sync.Mutex
	// campaignsKick has the campaigns looked at now.
	campaignsKick chan struct{}
	rootKick      chan struct{} // the same of the root
	alarms        sync.Map      // of those on the record in this process
	greeted       sync.Map      // concentrators that were not welcomed yet, and the meters that they said they hold keys of
	revoked       sync.Map      // devices that are not listened to
	recalls       sync.Map      // concentrators to be asked for what they keep for the vault, and when they were last
	gaps          sync.Map      // devices that were asked for a missing part of their log, and up to which entry it is known
	recalledAll   atomic.Bool
}

var _ api.Backend = (*IS)(nil)

// who is on record for what is done: the caller, or the system itself.
func who(ctx context.Context) audit.Actor { return access.ActorOr(ctx, actorIS) }

// Open opens a central system that Init has made. Run serves it, Close gives everything up.
func Open(ctx context.Context, cfg Config, deps Deps) (is *IS, err error) {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	is = &IS{cfg: cfg, deps: deps, campaignsKick: make(chan struct{}, 1), rootKick: make(chan struct{}, 1)}
	if is.own, err = is.cfg.complete(); err != nil {
		return nil, err
	}
	for _, open := range []func(context.Context) error{is.openVault, is.openBus} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, is.Close())
		}
	}
	is.wire()
	if err := is.cutRevoked(ctx); err != nil {
		return nil, errors.Join(err, is.Close())
	}
	return is, nil
}

func (is *IS) openVault(ctx context.Context) error {
	if err := is.openStore(ctx); err != nil {
		return err
	}
	root, err := is.cfg.unseal(is.cfg.Data, is.deps)
	if err != nil {
		return err
	}
	is.root, is.auditKey = root, root.Signer().PublicKey()
	is.audit = audit.New(is.store, audit.Options{
		Signer: root.Signer(), Now: is.deps.Now, Log: is.deps.Log, Turn: is.leases.Standing(lease.Audit()).Turn,
	})
	is.vault, err = vault.Open(ctx, is.cfg.Data, root, is.store, is.audit, vault.Options{
		Journal: is.cfg.Journal, Node: is.own.String(), Alone: is.cfg.Store == "" && is.deps.Store == nil, Now: is.deps.Now,
		Rand: is.deps.Rand, Log: is.deps.Log, WrapAEAD: is.deps.WrapAEAD, Block: is.deps.Block, ReSeal: is.deps.ReSeal, Crash: is.deps.Crash, Without: is.deps.Without,
		Zone:  is.cfg.zone(),
		Admit: is.admit,
	})
	if err != nil {
		return err
	}
	if err := is.vault.CheckTitle(is.own); err != nil {
		return err
	}
	is.gate = access.NewGate(access.GateConfig{
		Store: access.Journalled(is.store, is.notePerson), Audit: is.audit, Now: is.deps.Now, Rand: is.deps.Rand, Quotas: is.cfg.quotas(is.root.Made().Policy),
		Term: time.Duration(is.root.Made().Policy.ApprovalTerm),
	})
	is.fleet = fleet.New(fleet.Journalled(is.store, is.vault, is.deps.Now), is.audit, is.deps.Now, is.deps.Rand).Limit(is.cfg.LongestGrant, is.cfg.zone())
	if err := is.fleet.RegisterNode(ctx, actorIS, is.own); err != nil {
		return fmt.Errorf("system title of this node: %w", err)
	}
	return nil
}

// openStore opens the database and takes this node's name in it: from here on no earlier process of the same system title
// can write.
func (is *IS) openStore(ctx context.Context) error {
	db := is.deps.Store
	if db == nil {
		var err error
		if db, err = store.Open(ctx, is.cfg.Data, store.Options{URL: is.cfg.Store, Log: is.deps.Log, Zone: is.cfg.zone()}); err != nil {
			return err
		}
	}
	is.store = db
	name := is.own.String()
	node, err := db.As(ctx, store.NodeOptions{Name: name, At: is.deps.Now(), Crash: is.deps.Crash, Without: is.deps.Without})
	if err != nil {
		return err
	}
	is.store = node
	is.leases = lease.New(node, name, lease.Options{Now: is.deps.Now, TTL: is.cfg.LeaseTTL, Log: is.deps.Log, Still: is.deps.Serial, Without: is.deps.Without})
	is.rootTurn = is.leases.Standing(lease.Root()).Turn
	return nil
}

// watchName ends this process when another one has taken its name.
func (is *IS) watchName(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-is.store.Replaced():
		return fmt.Errorf("central: another process runs with system title %s on this store: %w; every node wants a title of its own", is.own, store.ErrFenced)
	}
}

func (is *IS) openBus(ctx context.Context) error {
	if is.wan = is.deps.WAN; is.wan != nil {
		return nil
	}
	known, err := is.fleet.Of(ctx, string(enrol.Concentrator))
	if err != nil {
		return err
	}
	users := make([]bus.User, 0, len(known))
	for _, d := range known {
		if d.State == "enrolled" {
			users = append(users, bus.User{Title: d.Title, NKeyPublic: d.NKeyPublic})
		}
	}
	is.server, err = bus.NewServer(bus.ServerConfig{
		Listen: is.cfg.Listen, TLSDir: is.cfg.tlsDir(), Users: users, Rand: is.deps.Rand, Log: is.deps.Log,
	})
	if err != nil {
		return err
	}
	if err := is.server.Start(); err != nil {
		return err
	}
	wan, err := bus.NewIS(is.server, bus.ISConfig{Now: is.deps.Now, Rand: is.deps.Rand, Log: is.deps.Log})
	if err != nil {
		return err
	}
	// After a while that is longer than the time between two tries: the node that can reach it gets to try.
	is.reach = newReach(wan, is.deps.Now, 5*cmp.Or(is.cfg.RetryMin, 2*time.Second))
	is.wan = is.reach
	return nil
}

func (is *IS) wire() {
	is.collector = collect.New(is.store.Readings(), is.deps.Now, is.deps.Log)
	width, concentrators := 0, 0
	if is.deps.Serial {
		width, concentrators = 1, 1
	}
	is.hand = relay.NewHand(relay.Config{
		Width: width,
		Bus:   is.wan, Vault: is.vault, Locate: is.locate, Own: is.own, Actor: actorIS, Rand: is.deps.Rand,
		Now: is.deps.Now, Log: is.deps.Log, WrapAEAD: is.deps.WrapAEAD,
		NoKey: func(d dlms.SystemTitle) { is.greet(d) }, Burnt: is.burnt, Tries: tries{is},
	})
	var away func(dlms.SystemTitle) bool
	if is.reach != nil {
		away = is.reach.Away
	}
	is.reconciler = rotation.New(rotation.Config{
		Away: away, Escrow: is.escrow,
		Width: width, Concentrators: concentrators, Without: is.deps.Without,
		Store: is.store.Changes(), Vault: keys{is.vault, is.whole}, Provisioner: provisioner{is}, Hand: is.hand, Now: is.deps.Now, Leases: is.leases,
		Log: is.deps.Log, RetryMin: is.cfg.RetryMin, RetryMax: is.cfg.RetryMax,
	})
	is.campaigns = rotation.NewCampaigns(rotation.CampaignsConfig{
		Store: is.store.Campaigns(), Now: is.deps.Now, Log: is.deps.Log, Turn: is.leases.Standing(lease.Campaigns()).Turn,
		Asked: is.reconciler.Kick,
	})
}

// locate finds meters: where they are, or why they cannot be reached.
func (is *IS) locate(ctx context.Context, meters []dlms.SystemTitle) ([]relay.Place, []error) {
	places, errs := make([]relay.Place, len(meters)), make([]error, len(meters))
	known, err := is.fleet.MetersByTitle(ctx, meters)
	for i, t := range meters {
		m, ok := known[t]
		switch {
		case err != nil:
			errs[i] = err
		case !ok:
			errs[i] = fmt.Errorf("%w meter %s", fleet.ErrUnknown, t)
		case m.Concentrator.IsZero():
			errs[i] = fmt.Errorf("meter %s is under no concentrator: assign it to one", t)
		default:
			places[i] = relay.Place{Concentrator: m.Concentrator, EndToEnd: m.EndToEnd(), Foreign: !slices.Contains(is.cfg.OwnMakers, m.Maker)}
		}
	}
	return places, errs
}

// Run serves concentrators, the API and the due work until ctx ends.
func (is *IS) Run(ctx context.Context) error {
	if err := is.wan.HandleUp(is.up); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return is.reconciler.Run(ctx) })
	g.Go(func() error { return is.runCampaigns(ctx) })
	g.Go(func() error { return is.keepRoot(ctx) })
	g.Go(func() error { return is.audit.Run(ctx) })
	g.Go(func() error { return is.watchName(ctx) })
	g.Go(func() error { return is.watchGrants(ctx) })
	g.Go(func() error {
		return is.serveAPI(ctx)
	})
	is.deps.Log.Info("central system is up", "bus", is.URL(), "system_title", is.own.String())
	return g.Wait()
}

// Close gives up bus, vault and store, in this order: nothing may use a key once its journal is closed.
func (is *IS) Close() error {
	if is.wan != nil {
		is.wan.Close()
	}
	if is.server != nil {
		is.server.Close()
	}
	var err error
	if is.vault != nil {
		err = is.vault.Close()
	}
	if is.root != nil {
		err = errors.Join(err, is.root.Close())
	}
	if is.store != nil && is.deps.Store == nil {
		err = errors.Join(err, is.store.Close())
	}
	return err
}

// URL is where concentrators reach the bus, empty where it is not this system's own.
func (is *IS) URL() string {
	if is.server == nil {
		return ""
	}
	return is.server.URL()
}

// Serve is Run for a caller that keeps the time itself: what concentrators tell is taken as it comes, and Beat is what
// is done now and then.
func (is *IS) Serve() error { return is.wan.HandleUp(is.up) }

// Beat does the work that is due, once, and returns how many key changes it took up.
func (is *IS) Beat(ctx context.Context) (int, error) {
	errs := []error{is.rootBeat(ctx), is.settleMoves(ctx), is.recallDue(ctx), is.settleSpent(ctx), is.welcome(ctx)}
	_, err := is.campaigns.Beat(ctx)
	errs = append(errs, err)
	n, err := is.reconciler.Pass(ctx)
	errs = append(errs, err, is.settleGrants(ctx))
	return n, errors.Join(append(errs, is.audit.Round(ctx))...)
}

// grantInterval is how often grants are looked at.
const grantInterval = 2 * time.Second
