package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/store"
)

func certificates(t *testing.T, w *world) {
	alice := access.Certificate{
		Fingerprint: "aa", Name: "alice", Roles: []access.Role{access.Operator, access.Auditor}, IssuedBy: "person:owner", IssuedAt: at, NotAfter: at.Add(time.Hour),
	}
	second := alice
	second.Fingerprint, second.IssuedAt = "ab", at.Add(time.Second)
	w.update(func(ctx context.Context) error {
		return errors.Join(w.AddCertificate(ctx, alice), w.AddCertificate(ctx, second))
	})
	if w.Update(t.Context(), func(ctx context.Context) error { return w.AddCertificate(ctx, alice) }) == nil {
		t.Error("a certificate was entered twice")
	}
	got, err := w.other.Certificate(t.Context(), "aa")
	w.must(err)
	if got == nil || got.Name != "alice" || !slices.Equal(got.Roles, alice.Roles) || !got.NotAfter.Equal(alice.NotAfter) || !got.RevokedAt.IsZero() || got.IssuedBy != alice.IssuedBy {
		t.Errorf("a certificate came back as %+v", got)
	}
	if none, err := w.Certificate(t.Context(), "zz"); none != nil || err != nil {
		t.Errorf("a certificate that is not there: %v, %v", none, err)
	}
	for _, step := range []struct {
		name, fingerprint string
		want              int
	}{{"bob", "", 0}, {"bob", "aa", 0}, {"alice", "ab", 1}, {"alice", "", 1}, {"alice", "", 0}} {
		var n int
		w.update(func(ctx context.Context) (err error) {
			n, err = w.RevokeCertificates(ctx, step.name, step.fingerprint, at, "person:owner", "stolen")
			return err
		})
		if n != step.want {
			t.Errorf("revoke %q %q: %d, want %d", step.name, step.fingerprint, n, step.want)
		}
	}
	all, err := w.other.Certificates(t.Context())
	w.must(err)
	if len(all) != 2 || all[0].Fingerprint != "aa" || !all[0].RevokedAt.Equal(at) || all[1].Why != "stolen" || all[1].RevokedBy != "person:owner" {
		t.Errorf("the certificates are %+v", all)
	}
}

func approvals(t *testing.T, w *world) {
	a := access.Approval{
		ID: "one", Op: access.OpBackup, Hash: "h", Params: "{}", Why: "why", Requester: "alice", AskedAt: at, ValidUntil: at.Add(time.Hour),
	}
	later := a
	later.ID, later.AskedAt = "two", at.Add(time.Second)
	w.update(func(ctx context.Context) error { return errors.Join(w.AddApproval(ctx, a), w.AddApproval(ctx, later)) })
	a.Approver, a.ApprovedAt, a.Reason = "bob", at, "fine"
	w.update(func(ctx context.Context) error { return w.SaveApproval(ctx, a) })
	a.UsedAt = at.Add(time.Minute)
	w.update(func(ctx context.Context) error { return w.SaveApproval(ctx, a) })
	got, err := w.other.Approval(t.Context(), "one")
	w.must(err)
	if got == nil || *got != a {
		t.Errorf("an approval came back as %+v, want %+v", got, a)
	}
	a.UsedAt, a.EndedAt = time.Time{}, at
	if err := w.Update(t.Context(), func(ctx context.Context) error { return w.SaveApproval(ctx, a) }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an approval was used and then withdrawn: %v", err)
	}
	list, err := w.Approvals(t.Context(), at)
	w.must(err)
	if len(list) != 2 || list[0].ID != "two" {
		t.Errorf("the approvals are %+v", list)
	}
	w.update(func(ctx context.Context) error { return w.DropApprovals(ctx, at.Add(2*time.Hour)) })
	if list, err = w.Approvals(t.Context(), time.Time{}); err != nil || len(list) != 0 {
		t.Errorf("after all of them ended: %+v, %v", list, err)
	}
}

func quotas(t *testing.T, w *world) {
	use := func(s *store.Store, u access.Use) {
		w.must(s.Update(t.Context(), func(ctx context.Context) error { return s.AddUse(ctx, u) }))
	}
	use(w.Store, access.Use{Class: access.Breakers, At: at, N: 3, By: "alice"})
	use(w.other, access.Use{Class: access.Breakers, At: at.Add(time.Minute), N: 4, By: "bob"})
	use(w.other, access.Use{Class: access.Breakers, At: at.Add(time.Minute), N: 9, Refused: true, By: "bob"})
	use(w.Store, access.Use{Class: access.BulkKeys, At: at, N: 100, By: "alice"})
	check := func(class access.Class, after time.Time, used, refused int) {
		t.Helper()
		if u, r, err := w.Used(t.Context(), class, after); err != nil || u != used || r != refused {
			t.Errorf("used of %s: %d and %d refused (%v), want %d and %d", class, u, r, err, used, refused)
		}
	}
	check(access.Breakers, at.Add(-time.Second), 7, 1)
	check(access.Breakers, at, 4, 1)
	check(access.Images, at, 0, 0)
	w.update(func(ctx context.Context) error { return w.DropUses(ctx, access.Breakers, at.Add(time.Second)) })
	check(access.Breakers, time.Time{}, 4, 1)
	check(access.BulkKeys, time.Time{}, 100, 0)

	for _, why := range []string{"burst", "again"} {
		w.update(func(ctx context.Context) error {
			return w.SetStop(ctx, access.Breakers, &access.Stop{Since: at, Why: why})
		})
	}
	if s, err := w.other.Stop(t.Context(), access.Breakers); err != nil || s == nil || s.Why != "again" || !s.Since.Equal(at) {
		t.Errorf("the stop came back as %+v, %v", s, err)
	}
	if s, err := w.Stop(t.Context(), access.Images); err != nil || s != nil {
		t.Errorf("another class is stopped: %+v, %v", s, err)
	}
	w.update(func(ctx context.Context) error { return w.SetStop(ctx, access.Breakers, nil) })
	if s, err := w.Stop(t.Context(), access.Breakers); err != nil || s != nil {
		t.Errorf("a stop that was lifted: %+v, %v", s, err)
	}
}
