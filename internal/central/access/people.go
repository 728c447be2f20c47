package access

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// What becomes of people, in the audit log.
const (
	ActionPersonAdded   audit.Action = "access.person.added"
	ActionPersonRevoked audit.Action = "access.person.revoked"
)

// ErrUnknownPerson is returned for a name that has no certificate.
var ErrUnknownPerson = errors.New("access: nobody of this name has a certificate that counts")

// People are those who are let in.
type People struct {
	Store Store
	Audit *audit.Log
	Now   func() time.Time
	Rand  io.Reader
}

// Add issues a certificate and lets it in. A person who is there gets another certificate, beside those that count.
func (p People) Add(ctx context.Context, by audit.Actor, a *Authority, q Request) (Issued, error) {
	now := p.Now()
	cert, err := a.issue(p.Rand, now, q)
	if err != nil {
		return Issued{}, err
	}
	name, roles, err := bearer(cert)
	if err != nil {
		return Issued{}, err
	}
	row := Certificate{Fingerprint: Fingerprint(cert), Name: name, Roles: roles, IssuedBy: by, IssuedAt: now.UTC(), NotAfter: cert.NotAfter.UTC()}
	err = p.Store.Update(ctx, func(ctx context.Context) error {
		if err := p.Store.AddCertificate(ctx, row); err != nil {
			return err
		}
		return p.Audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionPersonAdded, Phase: audit.Done,
			Detail: map[string]string{"person": name, "roles": Names(roles, "and"), "certificate": row.Fingerprint, "until": row.NotAfter.Format(time.RFC3339)},
		})
	})
	if err != nil {
		return Issued{}, fmt.Errorf("access: let %s in: %w", name, err)
	}
	return Issued{
		Name: name, Roles: roles, Fingerprint: row.Fingerprint, NotAfter: row.NotAfter,
		Certificate: encodeCert(cert), Authority: encodeCert(a.cert),
	}, nil
}

func encodeCert(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw}))
}

// Revoke takes the certificates of a name, or the one with the fingerprint if it is not empty, at once and for good.
func (p People) Revoke(ctx context.Context, by audit.Actor, name, fingerprint, why string) (n int, err error) {
	if why == "" {
		return 0, errors.New("access: revoke: want a reason, for the record")
	}
	now := p.Now()
	err = p.Store.Update(ctx, func(ctx context.Context) error {
		if n, err = p.Store.RevokeCertificates(ctx, name, fingerprint, now, by, why); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: %s", ErrUnknownPerson, name)
		}
		return p.Audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionPersonRevoked, Phase: audit.Done, Outcome: why,
			Detail: map[string]string{"person": name, "certificate": fingerprint, "certificates": fmt.Sprint(n)},
		})
	})
	return n, err
}

// List lists the certificates, those of before too.
func (p People) List(ctx context.Context) ([]Certificate, error) { return p.Store.Certificates(ctx) }

// Holding lists the people who have one of the roles, by a certificate that counts now.
func (p People) Holding(ctx context.Context, roles ...Role) ([]string, error) {
	all, err := p.Store.Certificates(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range all {
		if c.Live(p.Now()) && anyOf(c.Roles, roles) && !slices.Contains(out, c.Name) {
			out = append(out, c.Name)
		}
	}
	return out, nil
}
