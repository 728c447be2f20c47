package central

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// keys is the vault as the rotation uses it: whole batches, where one key that is refused refuses the batch, because
// the reconciler then takes them one by one.
type keys struct {
	v vault.Vault
	// whole refuses meters whose newest version may be missing.
	whole func(ctx context.Context, ks []rotation.MeterRole) error
}

var _ rotation.Vault = keys{}

func targets(ks []rotation.MeterRole) []vault.Target {
	out := make([]vault.Target, len(ks))
	for i, k := range ks {
		out[i] = vault.Target{Meter: k.Meter, Role: k.Role}
	}
	return out
}

func (k keys) Generate(ctx context.Context, ks []rotation.MeterRole) ([]role.KeyRef, error) {
	if err := k.whole(ctx, ks); err != nil {
		return nil, err
	}
	made, err := k.v.Generate(ctx, actorRotation, targets(ks))
	if err != nil {
		return nil, err
	}
	out := make([]role.KeyRef, len(made))
	for i, g := range made {
		if g.Err != nil {
			return nil, fmt.Errorf("%s: %w", g.Target, g.Err)
		}
		out[i] = g.Info.Ref
	}
	return out, nil
}

func (k keys) Active(ctx context.Context, ks []rotation.MeterRole) ([]role.KeyRef, error) {
	infos, err := k.v.Active(ctx, targets(ks))
	if err != nil {
		return nil, err
	}
	out := make([]role.KeyRef, len(infos))
	for i, in := range infos {
		out[i] = in.Ref
	}
	return out, nil
}

func (k keys) MarkSent(ctx context.Context, refs []role.KeyRef) error {
	return k.v.MarkSent(ctx, actorRotation, refs)
}

func (k keys) MarkActive(ctx context.Context, refs []role.KeyRef) error {
	return k.v.MarkActive(ctx, actorRotation, refs, "shown by the meter itself")
}

func (k keys) MarkAbandoned(ctx context.Context, refs []role.KeyRef) error {
	return k.v.MarkAbandoned(ctx, actorRotation, refs, "another version is in force")
}

// Standing implements rotation.Vault.
func (k keys) Standing(ctx context.Context, ref role.KeyRef) (rotation.Standing, error) {
	infos, err := k.v.Info(ctx, []role.KeyRef{ref})
	if errors.Is(err, vault.ErrUnknownKey) {
		return rotation.StandingOver, nil
	}
	if err != nil {
		return 0, err
	}
	switch infos[0].State {
	case vault.Pending:
		return rotation.StandingPending, nil
	case vault.Sent:
		return rotation.StandingSent, nil
	case vault.Active:
		return rotation.StandingActive, nil
	}
	return rotation.StandingOver, nil
}

func (k keys) Wrap(ctx context.Context, refs []role.KeyRef) ([][]byte, error) {
	wrapped, err := k.v.Wrap(ctx, actorRotation, refs)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(wrapped))
	for i, w := range wrapped {
		if w.Err != nil {
			return nil, fmt.Errorf("%s: %w", w.Ref, w.Err)
		}
		out[i] = w.Blob
	}
	return out, nil
}

func (k keys) Candidates(ctx context.Context, mr rotation.MeterRole) ([]role.KeyRef, error) {
	lists, err := k.v.Candidates(ctx, targets([]rotation.MeterRole{mr}))
	if err != nil {
		return nil, err
	}
	out := make([]role.KeyRef, len(lists[0]))
	for i, in := range lists[0] {
		out[i] = in.Ref
	}
	return out, nil
}

func (k keys) CheckValue(ctx context.Context, ref role.KeyRef) (key.CheckValue, error) {
	infos, err := k.v.Info(ctx, []role.KeyRef{ref})
	if err != nil {
		return key.CheckValue{}, err
	}
	return infos[0].CheckValue, nil
}
