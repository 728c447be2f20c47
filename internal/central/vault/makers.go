package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/shipment"
)

// The actions on makers in the audit log.
const (
	ActionMakerAdded   audit.Action = "vault.maker.added"
	ActionMakerRevoked audit.Action = "vault.maker.revoked"
)

// ErrMaker is returned for a shipment of a maker that is not known, or no longer, and for a key that cannot be registered.
var ErrMaker = errors.New("vault: maker refused")

// The states of a maker's key. One that was revoked stays so.
const (
	MakerActive  = "active"
	MakerRevoked = "revoked"
)

// MakerRow is a key that a maker signs with. A maker may have several.
type MakerRow struct {
	Maker       string // three letters
	Fingerprint string
	Public      []byte // Ed25519, 32 bytes
	State       string
	AddedAt     time.Time
	RevokedAt   time.Time
}

// AddMaker registers a maker's key, whose fingerprint a person compared with what the maker showed. Doing it again changes
// nothing.
func (v *Software) AddMaker(ctx context.Context, by audit.Actor, p shipment.MakerPublic, fingerprint string) error {
	if got := p.Fingerprint(); got != fingerprint {
		return fmt.Errorf("%w: it is %s; compare it with what maker %s shows", ErrFingerprint, got, p.Maker())
	}
	return v.step(ctx, func(ctx context.Context, c *change) error {
		known, err := v.maker(ctx, fingerprint)
		switch {
		case err != nil:
			return err
		case known.State == MakerActive:
			return nil
		case known.State == MakerRevoked:
			return fmt.Errorf("%w: %s of maker %s was revoked; have the maker make another key", ErrMaker, fingerprint, p.Maker())
		}
		c.makers = append(c.makers, MakerRow{
			Maker: p.Maker(), Fingerprint: fingerprint, Public: p.Bytes(), State: MakerActive, AddedAt: v.time(),
		})
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionMakerAdded, Phase: audit.Done, Detail: map[string]string{"maker": p.Maker(), "fingerprint": fingerprint},
		})
		return nil
	})
}

// RevokeMaker refuses from now on what is signed with a key. What came in before stays.
func (v *Software) RevokeMaker(ctx context.Context, by audit.Actor, fingerprint, why string) error {
	return v.step(ctx, func(ctx context.Context, c *change) error {
		known, err := v.maker(ctx, fingerprint)
		if err != nil {
			return err
		}
		if known.State == "" {
			return fmt.Errorf("%w: no maker has the key %s", ErrMaker, fingerprint)
		}
		if known.State == MakerRevoked {
			return nil
		}
		known.State, known.RevokedAt = MakerRevoked, v.time()
		c.makers = append(c.makers, known)
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionMakerRevoked, Phase: audit.Done, Outcome: why,
			Detail: map[string]string{"maker": known.Maker, "fingerprint": fingerprint},
		})
		return nil
	})
}

// Makers lists the keys of makers, by maker and age.
func (v *Software) Makers(ctx context.Context) ([]MakerRow, error) { return v.store.MakerRows(ctx) }

// maker returns the row of a key, the zero row for none.
func (v *Software) maker(ctx context.Context, fingerprint string) (MakerRow, error) {
	rows, err := v.store.MakerRows(ctx)
	for _, m := range rows {
		if m.Fingerprint == fingerprint {
			return m, err
		}
	}
	return MakerRow{}, err
}

// signer returns the key that a shipment names, of the maker that it names, if it is still good.
func (v *Software) signer(ctx context.Context, h shipment.Header) (shipment.MakerPublic, error) {
	m, err := v.maker(ctx, h.Signer)
	switch {
	case err != nil:
		return shipment.MakerPublic{}, err
	case m.State == "" || m.Maker != h.Maker:
		return shipment.MakerPublic{}, fmt.Errorf("%w: maker %s has no key %s here; register it, after comparing it with the maker", ErrMaker, h.Maker, h.Signer)
	case m.State != MakerActive:
		return shipment.MakerPublic{}, fmt.Errorf("%w: key %s of maker %s was revoked", ErrMaker, h.Signer, h.Maker)
	}
	return shipment.NewMakerPublic(m.Maker, m.Public)
}
