package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
)

// Device returns a concentrator or terminal, or ErrUnknown.
func (f *Fleet) Device(ctx context.Context, title dlms.SystemTitle) (Device, error) {
	all, err := f.Devices(ctx)
	if err != nil {
		return Device{}, err
	}
	for _, d := range all {
		if d.Title == title {
			return d, nil
		}
	}
	return Device{}, fmt.Errorf("%w concentrator or terminal %s", ErrUnknown, title)
}

// RegisterNode makes the system title of a node of the IS known. Registering it again changes nothing; a title that
// something else bears is refused.
func (f *Fleet) RegisterNode(ctx context.Context, by audit.Actor, title dlms.SystemTitle) error {
	if title.IsZero() {
		return errors.New("fleet: register node: want a system title")
	}
	err := f.Update(ctx, func(ctx context.Context) error {
		kinds, err := f.TitleKinds(ctx, []dlms.SystemTitle{title})
		if err != nil {
			return err
		}
		switch kind, taken := kinds[title]; {
		case kind == KindNode:
			return nil
		case taken:
			return fmt.Errorf("%w: a %s bears %s already", ErrTitleInUse, kind, title)
		}
		if err := f.AddNode(ctx, title, f.now()); err != nil {
			return err
		}
		return f.audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionNode, Phase: audit.Done, Subject: audit.Subject{Device: title},
		})
	})
	if err != nil {
		return fmt.Errorf("fleet: register node: %w", err)
	}
	return nil
}

// Revoke ends a device's right to be handed anything. What it holds already is changed by rotation. Its system title
// stays taken: its counters are spent under it.
func (f *Fleet) Revoke(ctx context.Context, by audit.Actor, title dlms.SystemTitle, why string) error {
	err := f.Update(ctx, func(ctx context.Context) error {
		d, err := f.Device(ctx, title)
		if err != nil || d.State == DeviceRevoked {
			return err
		}
		if _, err := f.SetDeviceState(ctx, title, DeviceRevoked); err != nil {
			return err
		}
		return f.audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionRevoked, Phase: audit.Done, Subject: audit.Subject{Device: title}, Outcome: why,
		})
	})
	if err != nil {
		return fmt.Errorf("fleet: revoke: %w", err)
	}
	return nil
}
