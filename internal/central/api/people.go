package api

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/access"
)

// Access is who is let in, who approves, and how much may be done.
type Access interface {
	// People lists the certificates of people and services.
	People(ctx context.Context) ([]access.Certificate, error)
	// AddPerson issues a certificate.
	AddPerson(ctx context.Context, p NewPerson) (access.Issued, error)
	// RevokePerson takes certificates, at once.
	RevokePerson(ctx context.Context, q RevokedPerson) (int, error)
	// Approvals lists what wants, or wanted, a second person. Approval shows one, Approve and Withdraw decide.
	Approvals(ctx context.Context) ([]access.Approval, error)
	Approval(ctx context.Context, id string) (access.Approval, error)
	Approve(ctx context.Context, d Decision) (access.Approval, error)
	Withdraw(ctx context.Context, d Decision) (access.Approval, error)
	// Quotas tells what is used of each, LiftStop lets a class go on that an anomaly has stopped.
	Quotas(ctx context.Context) ([]access.QuotaStatus, error)
	LiftStop(ctx context.Context, class access.Class) error
}

// NewPerson is somebody to be let in. The private key stays where it was made.
type NewPerson struct {
	Name  string        `json:"name"`
	Roles []access.Role `json:"roles"`
	// Public is the public key in one line: access.PublicText.
	Public string `json:"public"`
	// Days is how long the certificate counts; 0 is a year.
	Days int `json:"days,omitempty"`
}

// RevokedPerson names whose certificates are taken, and with a fingerprint the one that is meant.
type RevokedPerson struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Why         string `json:"why"`
}

// Decision is about one approval.
type Decision struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
}

func peopleRoutes(r *router, b Access) {
	route(r, access.OpPeople, "GET /v1/people", func(ctx context.Context, _ none) (any, error) { return b.People(ctx) })
	route(r, access.OpAddPerson, "POST /v1/people", b.AddPerson)
	route(r, access.OpRevokePerson, "POST /v1/people/revoke", b.RevokePerson)
	route(r, access.OpApprovals, "GET /v1/approvals", func(ctx context.Context, _ none) (any, error) { return b.Approvals(ctx) })
	route(r, access.OpApprovals, "POST /v1/approvals/show", func(ctx context.Context, q named) (any, error) { return b.Approval(ctx, q.Name) })
	route(r, access.OpApprove, "POST /v1/approvals/give", b.Approve)
	route(r, access.OpWithdraw, "POST /v1/approvals/withdraw", b.Withdraw)
	route(r, access.OpQuotas, "GET /v1/quotas", func(ctx context.Context, _ none) (any, error) { return b.Quotas(ctx) })
	route(r, access.OpLiftStop, "POST /v1/quotas/lift", func(ctx context.Context, q named) (none, error) { return none{}, b.LiftStop(ctx, access.Class(q.Name)) })
}

// People implements Access.
func (c *Client) People(ctx context.Context) ([]access.Certificate, error) {
	return get[[]access.Certificate](ctx, c, "/v1/people")
}

// AddPerson implements Access.
func (c *Client) AddPerson(ctx context.Context, p NewPerson) (access.Issued, error) {
	return ask[access.Issued](ctx, c, "/v1/people", p)
}

// RevokePerson implements Access.
func (c *Client) RevokePerson(ctx context.Context, q RevokedPerson) (int, error) {
	return ask[int](ctx, c, "/v1/people/revoke", q)
}

// Approvals implements Access.
func (c *Client) Approvals(ctx context.Context) ([]access.Approval, error) {
	return get[[]access.Approval](ctx, c, "/v1/approvals")
}

// Approval implements Access.
func (c *Client) Approval(ctx context.Context, id string) (access.Approval, error) {
	return ask[access.Approval](ctx, c, "/v1/approvals/show", named{id})
}

// Approve implements Access.
func (c *Client) Approve(ctx context.Context, d Decision) (access.Approval, error) {
	return ask[access.Approval](ctx, c, "/v1/approvals/give", d)
}

// Withdraw implements Access.
func (c *Client) Withdraw(ctx context.Context, d Decision) (access.Approval, error) {
	return ask[access.Approval](ctx, c, "/v1/approvals/withdraw", d)
}

// Quotas implements Access.
func (c *Client) Quotas(ctx context.Context) ([]access.QuotaStatus, error) {
	return get[[]access.QuotaStatus](ctx, c, "/v1/quotas")
}

// LiftStop implements Access.
func (c *Client) LiftStop(ctx context.Context, class access.Class) error {
	_, err := ask[none](ctx, c, "/v1/quotas/lift", named{string(class)})
	return err
}
