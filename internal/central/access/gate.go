package access

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// ActionRefused is a try at what its caller may not do, in the audit log.
const ActionRefused audit.Action = "access.refused"

// Errors of the gate. Who meets ErrCertificate is nobody; who meets ErrDenied is somebody else than it takes.
var (
	ErrCertificate = errors.New("access: this certificate does not count")
	ErrDenied      = errors.New("access: denied")
)

// Caller is who calls.
type Caller struct {
	Name        string
	Roles       []Role
	Fingerprint string
}

// Actor is the caller's name in the audit log.
func (c Caller) Actor() audit.Actor { return PersonActor(c.Name) }

// PersonActor is the name of a person, or of a service with a certificate, in the audit log.
func PersonActor(name string) audit.Actor { return audit.Actor("person:" + name) }

// Call is what somebody does: an operation with its parameters.
type Call struct {
	Caller
	Op Op
	// Params are the parameters as an approver sees them; no key is ever among them.
	Params []byte
	// approved: a second person has approved it.
	approved bool
}

// Hash binds an approval to the operation and its parameters.
func (c Call) Hash() string { return HashOf(c.Op, c.Params) }

// HashOf binds an approval to an operation and its parameters.
func HashOf(op Op, params []byte) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "meterseal approval 1\n%d %s\n", len(op), op) // a hash takes everything
	_, _ = h.Write(params)
	return hex.EncodeToString(h.Sum(nil))
}

type callKey struct{}

// WithCall carries a call to what does it.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// CallFrom returns whose call it is; none for what the system does by itself.
func CallFrom(ctx context.Context) (Call, bool) {
	c, ok := ctx.Value(callKey{}).(Call)
	return c, ok
}

// ActorOr names who does it for the audit log: the caller, or else the part of the system.
func ActorOr(ctx context.Context, system audit.Actor) audit.Actor {
	if c, ok := CallFrom(ctx); ok {
		return c.Actor()
	}
	return system
}

// GateConfig of NewGate.
type GateConfig struct {
	Store Store
	Audit *audit.Log
	Now   func() time.Time
	Rand  io.Reader
	// Quotas replaces the default quota of a class.
	Quotas map[Class]Quota
	// Term is how long an approval counts, ApprovalTerm by default.
	Term time.Duration
}

// Gate lets callers through to operations.
type Gate struct{ cfg GateConfig }

// NewGate makes one.
func NewGate(c GateConfig) *Gate { return &Gate{c} }

// People are those that the gate knows.
func (g *Gate) People() People {
	return People{Store: g.cfg.Store, Audit: g.cfg.Audit, Now: g.cfg.Now, Rand: g.cfg.Rand}
}

// Identify tells who the owner of a certificate is, whose chain was verified. The store is asked each time: what was revoked
// counts no more.
func (g *Gate) Identify(ctx context.Context, cert *x509.Certificate) (Caller, error) {
	if cert == nil {
		return Caller{}, fmt.Errorf("%w: none was shown", ErrCertificate)
	}
	name, roles, err := bearer(cert)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: it names no person", ErrCertificate)
	}
	row, err := g.cfg.Store.Certificate(ctx, Fingerprint(cert))
	switch {
	case err != nil:
		return Caller{}, err
	case row == nil:
		return Caller{}, fmt.Errorf("%w: %s: this central system did not issue it, or has forgotten it in a restore: have it issued again (meterseal central people add)", ErrCertificate, name)
	case !row.RevokedAt.IsZero():
		return Caller{}, fmt.Errorf("%w: %s: it was revoked at %s: have another one issued (meterseal central people add)", ErrCertificate, name, row.RevokedAt.Format(time.RFC3339))
	case !g.cfg.Now().Before(cert.NotAfter):
		return Caller{}, fmt.Errorf("%w: %s: it ended at %s: have another one issued (meterseal central people add)", ErrCertificate, name, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	// The certificate says at most what the store knows of it: who changes the store gives nobody a role.
	roles = slices.DeleteFunc(roles, func(r Role) bool { return !slices.Contains(row.Roles, r) })
	return Caller{Name: name, Roles: roles, Fingerprint: row.Fingerprint}, nil
}

// May refuses a caller who has none of the roles that an operation takes; of several operations one is enough. A try goes
// on record.
func (g *Gate) May(ctx context.Context, c Caller, ops ...Op) error {
	var tried, takes []string
	for _, op := range ops {
		rule, ok := RuleOf(op)
		if !ok || rule.AtRest {
			return fmt.Errorf("%w: nobody may %s here", ErrDenied, op)
		}
		if rule.Allows(c.Roles) {
			return nil
		}
		tried = append(tried, string(op))
		takes = append(takes, fmt.Sprintf("to %s takes %s", rule.Does, Names(rule.Roles, "or")))
	}
	err := g.cfg.Audit.Append(ctx, audit.Entry{
		Actor: c.Actor(), Action: ActionRefused, Phase: audit.Done, Detail: map[string]string{"operation": strings.Join(tried, " or ")},
	})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s is %s; %s: ask one of them, or have the role given to you (meterseal central people add)",
		ErrDenied, c.Name, orNobody(c.Roles), strings.Join(takes, ", "))
}

func orNobody(roles []Role) string {
	if len(roles) == 0 {
		return "without a role"
	}
	return Names(roles, "and")
}

// Enter lets a call through, or says whom it still takes. The context that it returns carries the call.
func (g *Gate) Enter(ctx context.Context, c Call) (context.Context, error) {
	if err := g.May(ctx, c.Caller, c.Op); err != nil {
		return nil, err
	}
	if rules[c.Op].Dual {
		if err := g.second(ctx, c, ""); err != nil {
			return nil, err
		}
		c.approved = true
	}
	return WithCall(ctx, c), nil
}
