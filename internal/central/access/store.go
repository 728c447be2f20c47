package access

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// Certificate is one that was issued, as the store knows it.
type Certificate struct {
	// Fingerprint is SHA-256 of the certificate, in hexadecimal.
	Fingerprint string      `json:"fingerprint"`
	Name        string      `json:"name"`
	Roles       []Role      `json:"roles"`
	IssuedBy    audit.Actor `json:"issued_by"`
	IssuedAt    time.Time   `json:"issued_at"`
	NotAfter    time.Time   `json:"not_after"`
	RevokedAt   time.Time   `json:"revoked_at,omitzero"`
	RevokedBy   audit.Actor `json:"revoked_by,omitempty"`
	Why         string      `json:"why,omitempty"`
}

// Live reports whether it counts at now.
func (c Certificate) Live(now time.Time) bool { return c.RevokedAt.IsZero() && now.Before(c.NotAfter) }

// Store is what the package needs of the database. Writes happen inside Update and join the caller's.
type Store interface {
	Update(ctx context.Context, fn func(ctx context.Context) error) error

	// AddCertificate enters a certificate; one that is there already is an error.
	AddCertificate(ctx context.Context, c Certificate) error
	// Certificate finds one by its fingerprint; nil if there is none.
	Certificate(ctx context.Context, fingerprint string) (*Certificate, error)
	// Certificates lists them, by name and age.
	Certificates(ctx context.Context) ([]Certificate, error)
	// RevokeCertificates revokes those of a name that are not revoked yet, or the one with the fingerprint if it is not empty,
	// and returns how many.
	RevokeCertificates(ctx context.Context, name, fingerprint string, at time.Time, by audit.Actor, why string) (int, error)

	// AddApproval enters a request for a second person.
	AddApproval(ctx context.Context, a Approval) error
	// Approval finds one by its id; nil if there is none.
	Approval(ctx context.Context, id string) (*Approval, error)
	// Approvals lists those whose validity ends after a moment, newest first.
	Approvals(ctx context.Context, after time.Time) ([]Approval, error)
	// SaveApproval writes what can change of one: who gave it, and its end.
	SaveApproval(ctx context.Context, a Approval) error
	// DropApprovals forgets those whose validity ended before a moment.
	DropApprovals(ctx context.Context, before time.Time) error

	// AddUse counts a use of a class, or an order that was refused for its quota.
	AddUse(ctx context.Context, u Use) error
	// Used adds up what was used of a class, and counts what was refused, after a moment.
	Used(ctx context.Context, class Class, after time.Time) (used, refused int, err error)
	// DropUses forgets those of a class before a moment.
	DropUses(ctx context.Context, class Class, before time.Time) error
	// Stop returns why a class is stopped; nil if it is not.
	Stop(ctx context.Context, class Class) (*Stop, error)
	// SetStop stops a class, or lifts its stop where s is nil.
	SetStop(ctx context.Context, class Class, s *Stop) error
}
