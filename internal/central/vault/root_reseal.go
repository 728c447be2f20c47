package vault

import (
	"fmt"

	"github.com/meterseal/meterseal/internal/role"
)

// ReSealRow implements Hold. Nothing else of the row changes.
func (r *Root) ReSealRow(row KeyRow) (KeyRow, error) {
	fresh, err := r.reSealed(row)
	if err != nil {
		return KeyRow{}, err
	}
	row.Term, row.Sealed, row.MAC = fresh.Term, fresh.Sealed, fresh.MAC
	return row, nil
}

func (r *Root) reSealed(row KeyRow) (KeyRow, error) {
	if row.Ref.Role == role.CCC {
		k, err := r.openMaster(row)
		if err != nil {
			return KeyRow{}, err
		}
		return r.sealRow(row.Ref, row.Suite, k)
	}
	k, err := r.openUnicast(row)
	if err != nil {
		return KeyRow{}, err
	}
	return r.sealRow(row.Ref, row.Suite, k)
}

// ReSealDevice implements Hold.
func (r *Root) ReSealDevice(d DeviceRow) (DeviceRow, error) {
	kek, mac, err := r.openDevice(d)
	if err != nil {
		return DeviceRow{}, err
	}
	if d.KEK, err = r.sealDeviceRow(d.Title, UseKEK, kek); err != nil {
		return DeviceRow{}, fmt.Errorf("re-seal: %w", err)
	}
	if d.MAC, err = r.sealDeviceRow(d.Title, UseMAC, mac); err != nil {
		return DeviceRow{}, fmt.Errorf("re-seal: %w", err)
	}
	return d, nil
}
