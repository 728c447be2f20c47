package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
)

// EnrolDevice implements Vault.
func (v *Software) EnrolDevice(ctx context.Context, by audit.Actor, file enrol.File, fingerprint string) error {
	if err := file.Check(); err != nil {
		return err
	}
	if got := file.Fingerprint(); got != fingerprint {
		return fmt.Errorf("%w: it is %s; compare it with what %s %s shows", ErrFingerprint, got, file.Kind, file.Title)
	}
	d := DeviceRow{
		Title: file.Title, Kind: string(file.Kind), NKeyPublic: file.NKeyPublic, Fingerprint: fingerprint,
		State: deviceEnrolled, EnrolledAt: v.time(),
	}
	var err error
	if d.KEK, d.MAC, err = v.keys.AdoptDevice(file); err != nil {
		return err
	}
	err = v.step(ctx, func(ctx context.Context, c *change) error { return v.addDevice(ctx, by, d, c) })
	if err != nil {
		return fmt.Errorf("enrol %s %s: %w", file.Kind, file.Title, err)
	}
	return nil
}

func (v *Software) addDevice(ctx context.Context, by audit.Actor, d DeviceRow, c *change) error {
	old, known, err := v.store.DeviceRow(ctx, d.Title)
	if err != nil {
		return err
	}
	if known && old.Fingerprint == d.Fingerprint && old.State == deviceEnrolled {
		return nil
	}
	kinds, err := v.store.TitleKinds(ctx, []dlms.SystemTitle{d.Title})
	if err != nil {
		return err
	}
	if kind, taken := kinds[d.Title]; taken {
		return fmt.Errorf("%w: a %s bears %s already", ErrTitleInUse, kind, d.Title)
	}
	used, err := v.store.FingerprintsInUse(ctx, []Fingerprint{d.KEK.Fingerprint, d.MAC.Fingerprint})
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return errors.New("its keys are in use elsewhere; have it make new ones")
	}
	c.devices = append(c.devices, d)
	c.audit = append(c.audit, audit.Entry{
		Actor: by, Action: ActionEnrolled, Phase: audit.Done, Subject: audit.Subject{Device: d.Title},
		Detail: map[string]string{"kind": d.Kind, "fingerprint": d.Fingerprint},
	})
	return nil
}
