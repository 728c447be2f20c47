package central

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// RotateRoot implements api.Backend.
func (is *IS) RotateRoot(ctx context.Context, q api.RootRotation) (api.Root, error) {
	if err := is.vault.RotateRoot(ctx, who(ctx), q.Reason, q.Without); err != nil {
		return api.Root{}, err
	}
	if err := is.vault.Follow(ctx); err != nil {
		return api.Root{}, err
	}
	is.kickRoot()
	return is.Root(ctx)
}

// Root implements api.Backend.
func (is *IS) Root(ctx context.Context) (api.Root, error) {
	s, err := is.vault.RootStatus(ctx)
	if err != nil {
		return api.Root{}, err
	}
	out := api.Root{
		Vault: s.Vault, Finished: s.Finished, Done: s.Done, All: s.All, Failed: s.Failed, Refused: s.Refused, Waiting: s.Waiting,
	}
	for _, t := range s.Terms {
		term := api.RootTerm{Term: t.Term, State: t.State, MadeAt: t.MadeAt, RetiredAt: t.RetiredAt}
		for _, n := range s.Names {
			if n.Term == t.Term {
				term.Wrap, term.MAC = n.WrapFingerprint, n.MACFingerprint
			}
		}
		out.Terms = append(out.Terms, term)
	}
	if r := s.Rotation; r != nil {
		out.Term, out.By, out.Reason, out.StagedAt, out.DoneAt = r.Term, string(r.By), r.Reason, r.StagedAt, r.DoneAt
	}
	return out, nil
}

// RetireTerm implements api.Backend.
func (is *IS) RetireTerm(ctx context.Context, q api.Retirement) (api.Root, error) {
	b, err := is.backed(ctx, q)
	if err != nil {
		return api.Root{}, err
	}
	if err := is.vault.RetireTerm(ctx, who(ctx), q.Term, b); err != nil {
		return api.Root{}, err
	}
	return is.Root(ctx)
}

// backed proves that there is a backup without the term. A PostgreSQL database has its own, of which we know what we are told.
func (is *IS) backed(ctx context.Context, q api.Retirement) (b vault.Backed, err error) {
	switch {
	case (q.Backup == "") == q.BackedUpAt.IsZero():
		return b, errors.New("retire a term: want the backup that was made after the rotation, or when the database was backed up with its own tools")
	case q.Backup == "" && !is.store.Shared():
		return b, fmt.Errorf("retire term %d: want the directory of a backup: a time is for a database that has tools of its own", q.Term)
	case q.Backup == "":
		return vault.Backed{At: q.BackedUpAt}, nil
	}
	if _, err := backup.Verify(q.Backup, is.root, nil); err != nil {
		return b, err
	}
	if b.Rotation, err = backup.Rotated(ctx, q.Backup, q.Term); err != nil {
		return b, err
	}
	if b.Rotation == nil {
		return b, fmt.Errorf("%w: the backup is from before the rotation: make a new one", vault.ErrStillNeeded)
	}
	return b, nil
}

func (is *IS) kickRoot() {
	select {
	case is.rootKick <- struct{}{}:
	default:
	}
}

const (
	// rootInterval is how often a node looks at its root file and at what the others have said.
	rootInterval = time.Second
	// reSealPause leaves the database to others between two commits of a re-seal.
	reSealPause = 5 * time.Millisecond
)

// keepRoot does this node's part of a rotation of the root until ctx ends.
func (is *IS) keepRoot(ctx context.Context) error {
	t := time.NewTicker(rootInterval)
	defer t.Stop()
	told := ""
	for {
		err := is.rootBeat(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			told = ""
		case err.Error() != told && !errors.Is(err, store.ErrFenced):
			told = err.Error()
			is.deps.Log.Error("the rotation of the root could not go on", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-is.rootKick:
		case <-t.C:
		}
	}
}

// rootBeat follows a rotation, and seals anew what there is if it is this node's turn: one batch of it where one thing is
// done at a time.
func (is *IS) rootBeat(ctx context.Context) error {
	if err := is.vault.Follow(ctx); err != nil {
		return err
	}
	for !is.vault.ReSealed() {
		under, mine, err := is.rootTurn(ctx)
		if err != nil || !mine {
			return err
		}
		more, err := is.vault.ReSeal(under)
		if err != nil || !more || is.deps.Serial {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reSealPause):
		}
	}
	return nil
}
