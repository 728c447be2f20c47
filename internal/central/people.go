package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
)

// serveAPI answers people until ctx ends.
func (is *IS) serveAPI(ctx context.Context) error {
	tls, err := access.ServerTLS(is.cfg.tlsDir(), is.deps.Now)
	if err != nil {
		return fmt.Errorf("%w: make what is missing: meterseal central init", err)
	}
	return api.Serve(ctx, api.ServeConfig{
		Socket: filepath.Join(is.cfg.Data, api.SocketName), Listen: is.cfg.APIListen, TLS: tls, Gate: is.gate, Log: is.deps.Log,
		Listening: func(a net.Addr) { is.deps.Log.Info("the API listens", "address", a.String()) },
	}, is)
}

// notePerson tells the key journal of a certificate that is issued or revoked.
func (is *IS) notePerson(ctx context.Context, c access.Certificate) error {
	fact, err := json.Marshal(fleet.Fact{Certificate: &c})
	if err != nil {
		return err
	}
	return is.vault.Note(ctx, fact)
}

// People implements api.Access.
func (is *IS) People(ctx context.Context) ([]access.Certificate, error) {
	return is.gate.People().List(ctx)
}

// AddPerson implements api.Access. The key of the authority is opened for it, and not kept.
func (is *IS) AddPerson(ctx context.Context, p api.NewPerson) (access.Issued, error) {
	return issue(ctx, is.cfg, is.gate.People(), who(ctx), p)
}

func issue(ctx context.Context, cfg Config, people access.People, by audit.Actor, p api.NewPerson) (access.Issued, error) {
	pub, err := access.ParsePublic(p.Public)
	if err != nil {
		return access.Issued{}, err
	}
	pass, err := cfg.passphrase()
	if err != nil {
		return access.Issued{}, err
	}
	ca, err := access.OpenAuthority(cfg.tlsDir(), pass)
	if err != nil {
		return access.Issued{}, err
	}
	return people.Add(ctx, by, ca, access.Request{Name: p.Name, Roles: p.Roles, Public: pub, Life: time.Duration(p.Days) * 24 * time.Hour})
}

// RevokePerson implements api.Access.
func (is *IS) RevokePerson(ctx context.Context, q api.RevokedPerson) (int, error) {
	return is.gate.People().Revoke(ctx, who(ctx), q.Name, q.Fingerprint, q.Why)
}

// Approvals implements api.Access.
func (is *IS) Approvals(ctx context.Context) ([]access.Approval, error) {
	return is.gate.Approvals(ctx)
}

// Approval implements api.Access.
func (is *IS) Approval(ctx context.Context, id string) (access.Approval, error) {
	return is.gate.Approval(ctx, id)
}

// errNobody is returned where a decision would be nobody's.
var errNobody = errors.New("approve: want a person")

// Approve implements api.Access.
func (is *IS) Approve(ctx context.Context, d api.Decision) (access.Approval, error) {
	c, ok := access.CallFrom(ctx)
	if !ok {
		return access.Approval{}, errNobody
	}
	return is.gate.Give(ctx, c.Caller, d.ID, d.Reason)
}

// Withdraw implements api.Access.
func (is *IS) Withdraw(ctx context.Context, d api.Decision) (access.Approval, error) {
	c, ok := access.CallFrom(ctx)
	if !ok {
		return access.Approval{}, errNobody
	}
	return is.gate.Withdraw(ctx, c.Caller, d.ID, d.Reason)
}

// Quotas implements api.Access.
func (is *IS) Quotas(ctx context.Context) ([]access.QuotaStatus, error) {
	makers, err := is.vault.Makers(ctx)
	if err != nil {
		return nil, err
	}
	var apart []access.Class
	for _, m := range makers { // by maker
		if class := access.Imports.Of(m.Maker); !slices.Contains(apart, class) {
			apart = append(apart, class)
		}
	}
	return is.gate.Quotas(ctx, apart...)
}

// LiftStop implements api.Access.
func (is *IS) LiftStop(ctx context.Context, class access.Class) error {
	return is.gate.Lift(ctx, class)
}

// people are those of a central system at rest.
func (h *House) people() access.People {
	return access.People{Store: h.Store, Audit: h.Audit, Now: h.deps.Now, Rand: h.deps.Rand}
}

// People lists the certificates.
func (h *House) People(ctx context.Context) ([]access.Certificate, error) {
	return h.people().List(ctx)
}

// ErrCustodians is returned where the owner of the data directory alone may let nobody in any more.
var ErrCustodians = errors.New("there are two key custodians: start the central system and let one of them do it, with the approval of the other")

// AddPerson lets somebody in on a central system at rest: so the first ones come. Once there are two key custodians it takes
// them both, on the running system.
func (h *House) AddPerson(ctx context.Context, p api.NewPerson) (access.Issued, error) {
	custodians, err := h.people().Holding(ctx, access.Custodian)
	if err != nil {
		return access.Issued{}, err
	}
	if len(custodians) >= 2 {
		return access.Issued{}, fmt.Errorf("people: add %s: %w", p.Name, ErrCustodians)
	}
	return issue(ctx, h.cfg, h.people(), actorOwner, p)
}

// RevokePerson takes certificates on a central system at rest.
func (h *House) RevokePerson(ctx context.Context, q api.RevokedPerson) (int, error) {
	return h.people().Revoke(ctx, actorOwner, q.Name, q.Fingerprint, q.Why)
}

// MakePerson lets somebody in, makes the key here and writes it with the certificate into the people directory. It is for the
// first people of an installation, and for what runs it all on one machine.
func (h *House) MakePerson(ctx context.Context, name string, roles ...access.Role) (*access.Identity, error) {
	key, err := access.NewKey(h.deps.Rand)
	if err != nil {
		return nil, err
	}
	pub, err := access.PublicText(key.Public())
	if err != nil {
		return nil, err
	}
	issued, err := h.AddPerson(ctx, api.NewPerson{Name: name, Roles: roles, Public: pub})
	if err != nil {
		return nil, err
	}
	id, err := issued.Identity(key)
	if err != nil {
		return nil, err
	}
	return id, id.Write(access.PersonFile(h.cfg.Data, name))
}

// MakePeople makes the people of a new installation, each with the roles given, in a data directory that Init has made.
func MakePeople(ctx context.Context, cfg Config, deps Deps, people map[string][]access.Role) error {
	h, err := OpenHouse(ctx, cfg, deps)
	if err != nil {
		return err
	}
	var errs []error
	for name, roles := range people {
		_, err := h.MakePerson(ctx, name, roles...)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, h.Close())...)
}
