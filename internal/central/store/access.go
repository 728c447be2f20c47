package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/audit"
)

var _ access.Store = (*Store)(nil)

const personColumns = `fingerprint, name, roles, issued_by, issued_at, not_after, revoked_at, revoked_by, why`

// AddCertificate implements access.Store.
func (s *Store) AddCertificate(ctx context.Context, c access.Certificate) error {
	roles := make([]string, len(c.Roles))
	for i, r := range c.Roles {
		roles[i] = string(r)
	}
	_, err := s.exec(ctx, `INSERT INTO people (`+personColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.Fingerprint, c.Name, strings.Join(roles, " "), string(c.IssuedBy), micros(c.IssuedAt), micros(c.NotAfter),
		micros(c.RevokedAt), string(c.RevokedBy), c.Why)
	if err != nil {
		return fmt.Errorf("enter a certificate: %w", err)
	}
	return nil
}

func scanCertificate(r scanner) (c access.Certificate, err error) {
	var roles, by, revokedBy string
	var issued, until, revoked int64
	if err := r.Scan(&c.Fingerprint, &c.Name, &roles, &by, &issued, &until, &revoked, &revokedBy, &c.Why); err != nil {
		return c, err
	}
	c.IssuedBy, c.RevokedBy = audit.Actor(by), audit.Actor(revokedBy)
	c.IssuedAt, c.NotAfter, c.RevokedAt = fromMicros(issued), fromMicros(until), fromMicros(revoked)
	for _, f := range strings.Fields(roles) {
		c.Roles = append(c.Roles, access.Role(f))
	}
	return c, nil
}

// Certificate implements access.Store.
func (s *Store) Certificate(ctx context.Context, fingerprint string) (*access.Certificate, error) {
	return maybe(one(ctx, s, scanCertificate, `SELECT `+personColumns+` FROM people WHERE fingerprint = ?`, fingerprint))
}

// maybe turns "there is none" into nil.
func maybe[T any](v T, err error) (*T, error) {
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// Certificates implements access.Store.
func (s *Store) Certificates(ctx context.Context) ([]access.Certificate, error) {
	return list(ctx, s, scanCertificate, `SELECT `+personColumns+` FROM people ORDER BY name, issued_at, fingerprint`)
}

// RevokeCertificates implements access.Store.
func (s *Store) RevokeCertificates(ctx context.Context, name, fingerprint string, at time.Time, by audit.Actor, why string) (int, error) {
	n, err := s.exec(ctx, `UPDATE people SET revoked_at = ?1, revoked_by = ?2, why = ?3
		WHERE name = ?4 AND revoked_at = 0 AND (?5 = '' OR fingerprint = ?5)`, micros(at), string(by), why, name, fingerprint)
	return int(n), err
}

const approvalColumns = `id, op, hash, params, why, requester, asked_at, valid_until, approver, approved_at, reason, used_at, ended_at, ended_by`

// AddApproval implements access.Store.
func (s *Store) AddApproval(ctx context.Context, a access.Approval) error {
	_, err := s.exec(ctx, `INSERT INTO approvals (`+approvalColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, string(a.Op), a.Hash, a.Params, a.Why, a.Requester, micros(a.AskedAt), micros(a.ValidUntil),
		a.Approver, micros(a.ApprovedAt), a.Reason, micros(a.UsedAt), micros(a.EndedAt), a.EndedBy)
	if err != nil {
		return fmt.Errorf("enter an approval: %w", err)
	}
	return nil
}

func scanApproval(r scanner) (a access.Approval, err error) {
	var op string
	var asked, until, approved, used, ended int64
	err = r.Scan(&a.ID, &op, &a.Hash, &a.Params, &a.Why, &a.Requester, &asked, &until, &a.Approver, &approved, &a.Reason, &used, &ended, &a.EndedBy)
	a.Op, a.AskedAt, a.ValidUntil = access.Op(op), fromMicros(asked), fromMicros(until)
	a.ApprovedAt, a.UsedAt, a.EndedAt = fromMicros(approved), fromMicros(used), fromMicros(ended)
	return a, err
}

// Approval implements access.Store.
func (s *Store) Approval(ctx context.Context, id string) (*access.Approval, error) {
	return maybe(one(ctx, s, scanApproval, `SELECT `+approvalColumns+` FROM approvals WHERE id = ?`, id))
}

// Approvals implements access.Store.
func (s *Store) Approvals(ctx context.Context, after time.Time) ([]access.Approval, error) {
	return list(ctx, s, scanApproval, `SELECT `+approvalColumns+` FROM approvals WHERE valid_until > ? ORDER BY asked_at DESC, id`, micros(after))
}

// SaveApproval implements access.Store.
func (s *Store) SaveApproval(ctx context.Context, a access.Approval) error {
	n, err := s.exec(ctx, `UPDATE approvals SET approver = ?, approved_at = ?, reason = ?, used_at = ?, ended_at = ?, ended_by = ?
		WHERE id = ? AND used_at = 0 AND ended_at = 0`,
		a.Approver, micros(a.ApprovedAt), a.Reason, micros(a.UsedAt), micros(a.EndedAt), a.EndedBy, a.ID)
	if err == nil && n != 1 {
		err = fmt.Errorf("approval %s is over: %w", a.ID, ErrNotFound)
	}
	return err
}

// DropApprovals implements access.Store.
func (s *Store) DropApprovals(ctx context.Context, before time.Time) error {
	_, err := s.exec(ctx, `DELETE FROM approvals WHERE valid_until < ?`, micros(before))
	return err
}

// AddUse implements access.Store.
func (s *Store) AddUse(ctx context.Context, u access.Use) error {
	refused := 0
	if u.Refused {
		refused = 1
	}
	_, err := s.exec(ctx, `INSERT INTO quota_uses (class, at, n, refused, by_whom) VALUES (?, ?, ?, ?, ?)`,
		string(u.Class), micros(u.At), u.N, refused, u.By)
	return err
}

// Used implements access.Store.
func (s *Store) Used(ctx context.Context, class access.Class, after time.Time) (used, refused int, err error) {
	type sums struct{ used, refused int64 }
	n, err := one(ctx, s, func(r scanner) (n sums, err error) { return n, r.Scan(&n.used, &n.refused) },
		`SELECT CAST(COALESCE(SUM(CASE WHEN refused = 0 THEN n ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(refused), 0) AS BIGINT)
		FROM quota_uses WHERE class = ? AND at > ?`, string(class), micros(after))
	return int(n.used), int(n.refused), err
}

// DropUses implements access.Store.
func (s *Store) DropUses(ctx context.Context, class access.Class, before time.Time) error {
	_, err := s.exec(ctx, `DELETE FROM quota_uses WHERE class = ? AND at < ?`, string(class), micros(before))
	return err
}

// Stop implements access.Store.
func (s *Store) Stop(ctx context.Context, class access.Class) (*access.Stop, error) {
	return maybe(one(ctx, s, func(r scanner) (p access.Stop, err error) {
		var since int64
		err = r.Scan(&since, &p.Why)
		p.Since = fromMicros(since)
		return p, err
	}, `SELECT since, why FROM quota_stops WHERE class = ?`, string(class)))
}

// SetStop implements access.Store.
func (s *Store) SetStop(ctx context.Context, class access.Class, p *access.Stop) error {
	if p == nil {
		_, err := s.exec(ctx, `DELETE FROM quota_stops WHERE class = ?`, string(class))
		return err
	}
	_, err := s.exec(ctx, `INSERT INTO quota_stops (class, since, why) VALUES (?, ?, ?)
		ON CONFLICT (class) DO UPDATE SET since = excluded.since, why = excluded.why`, string(class), micros(p.Since), p.Why)
	return err
}
