package vault

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// NewRow implements Hold.
func (r *Root) NewRow(rand io.Reader, ref role.KeyRef, suite uint8) (KeyRow, error) {
	if ref.Role == role.CCC {
		return KeyRow{}, fmt.Errorf("%w: %s comes from the maker", ErrRole, ref)
	}
	k, err := key.GenerateUnicast(rand)
	if err != nil {
		return KeyRow{}, err
	}
	return r.sealRow(ref, suite, k)
}

// CheckRow implements Hold.
func (r *Root) CheckRow(row KeyRow) (err error) {
	if row.Ref.Role == role.CCC {
		_, err = r.openMaster(row)
	} else {
		_, err = r.openUnicast(row)
	}
	return err
}

// WrapRow implements Hold.
func (r *Root) WrapRow(ccc, row KeyRow) ([]byte, error) {
	if err := CheckWrap(ccc, row); err != nil {
		return nil, err
	}
	master, err := r.openMaster(ccc)
	if err != nil {
		return nil, err
	}
	k, err := r.openUnicast(row)
	if err != nil {
		return nil, err
	}
	return master.Wrap(k)
}

// CheckWrap refuses what no Hold wraps: under anything but CCC, CCC itself, and one meter's key under another's CCC.
func CheckWrap(ccc, row KeyRow) error {
	switch {
	case ccc.Ref.Role != role.CCC:
		return fmt.Errorf("%w: %s wraps nothing", ErrRole, ccc.Ref)
	case row.Ref.Role == role.CCC:
		return fmt.Errorf("%w: %s is not transferred", ErrRole, row.Ref)
	case ccc.Ref.Meter != row.Ref.Meter:
		return fmt.Errorf("%w: %s under a CCC of %s", ErrRow, row.Ref, ccc.Ref.Meter)
	}
	return nil
}

// RowAEAD implements Hold.
func (r *Root) RowAEAD(row KeyRow) (cipher.AEAD, error) {
	if err := CheckUse(row); err != nil {
		return nil, err
	}
	k, err := r.openUnicast(row)
	if err != nil {
		return nil, err
	}
	return k.AEAD()
}

// CheckUse refuses keys that the central system opens no association with.
func CheckUse(row KeyRow) error {
	if row.Ref.Role != role.CCIS && row.Ref.Role != role.CCLAN {
		return fmt.Errorf("%w: open an association with %s", ErrRole, row.Ref)
	}
	return nil
}

// SealRow implements Hold.
func (r *Root) SealRow(d DeviceRow, head enrol.SealedKey, row KeyRow) (enrol.SealedKey, error) {
	if err := CheckHead(d, head, row); err != nil {
		return enrol.SealedKey{}, err
	}
	kek, mac, err := r.openDevice(d)
	if err != nil {
		return enrol.SealedKey{}, err
	}
	k, err := r.openUnicast(row)
	if err != nil {
		return enrol.SealedKey{}, err
	}
	return enrol.Seal(head, kek, mac, k)
}

// CheckHead refuses a head that is not this key's for this device, as what is sealed under it would be taken for another's,
// and keys that are never sealed to anybody.
func CheckHead(d DeviceRow, head enrol.SealedKey, row KeyRow) error {
	if !head.LastDay.IsZero() {
		return fmt.Errorf("%w: %s itself has no last day", ErrRole, row.Ref)
	}
	return checkHead(d, head, row)
}

func checkHead(d DeviceRow, head enrol.SealedKey, row KeyRow) error {
	if row.Ref.Role != role.CCLAN && row.Ref.Role != role.CCLOCALE {
		return fmt.Errorf("%w: %s is never handed out", ErrRole, row.Ref)
	}
	if err := head.Check(); err != nil {
		return err
	}
	if head.Ref() != row.Ref || head.Recipient != d.Title {
		return fmt.Errorf("%w: %s to %s under the name of %s to %s", ErrRow, row.Ref, d.Title, head.Ref(), head.Recipient)
	}
	return nil
}

// SealDerived implements Hold.
func (r *Root) SealDerived(d DeviceRow, head enrol.SealedKey, row KeyRow) (enrol.SealedKey, error) {
	if err := CheckDerivedHead(d, head, row); err != nil {
		return enrol.SealedKey{}, err
	}
	kek, mac, err := r.openDevice(d)
	if err != nil {
		return enrol.SealedKey{}, err
	}
	k, err := r.openUnicast(row)
	if err != nil {
		return enrol.SealedKey{}, err
	}
	derived, err := k.Derive(d.Title, head.LastDay)
	if err != nil {
		return enrol.SealedKey{}, err
	}
	return enrol.SealDerived(head, kek, mac, derived)
}

// CheckDerivedHead refuses what no key is derived for: another role, another device than a terminal, no last day.
func CheckDerivedHead(d DeviceRow, head enrol.SealedKey, row KeyRow) error {
	if row.Ref.Role != role.CCLOCALE || d.Kind != kindTerminal || head.LastDay.IsZero() {
		return fmt.Errorf("%w: derive a key from %s for %s %s until %s", ErrRole, row.Ref, d.Kind, d.Title, head.LastDay)
	}
	return checkHead(d, head, row)
}

// SealGrant implements Hold.
func (r *Root) SealGrant(d DeviceRow, g enrol.Grant) (enrol.Grant, error) {
	if err := CheckGrant(d, g); err != nil {
		return enrol.Grant{}, err
	}
	_, mac, err := r.openDevice(d)
	if err != nil {
		return enrol.Grant{}, err
	}
	return enrol.SealGrant(g, mac)
}

// CheckGrant refuses a grant for another terminal.
func CheckGrant(d DeviceRow, g enrol.Grant) error {
	if g.Terminal != d.Title {
		return fmt.Errorf("%w: a grant for %s to %s", ErrRow, g.Terminal, d.Title)
	}
	return nil
}

// VerifyLog implements Hold.
func (r *Root) VerifyLog(d DeviceRow, f enrol.LogFile) error {
	if err := CheckLog(d, f); err != nil {
		return err
	}
	_, mac, err := r.openDevice(d)
	if err != nil {
		return err
	}
	return f.Verify(mac)
}

// CheckLog refuses a log as that of another device.
func CheckLog(d DeviceRow, f enrol.LogFile) error {
	if f.Terminal != d.Title {
		return fmt.Errorf("%w: a log of %s as that of %s", ErrRow, f.Terminal, d.Title)
	}
	return nil
}

// CheckDevice implements Hold.
func (r *Root) CheckDevice(d DeviceRow) error {
	_, _, err := r.openDevice(d)
	return err
}

// AdoptDevice implements Hold.
func (r *Root) AdoptDevice(f enrol.File) (kekRow, macRow DeviceKeyRow, err error) {
	kek, mac, err := f.OpenKeys(r.files)
	if err != nil {
		return kekRow, macRow, err
	}
	if kekRow, err = r.sealDeviceRow(f.Title, UseKEK, kek); err != nil {
		return kekRow, macRow, err
	}
	macRow, err = r.sealDeviceRow(f.Title, UseMAC, mac)
	return kekRow, macRow, err
}

// AdoptCopy implements Hold.
func (r *Root) AdoptCopy(d DeviceRow, s enrol.SealedKey, suite uint8) (KeyRow, error) {
	kek, mac, err := r.openDevice(d)
	if err != nil {
		return KeyRow{}, err
	}
	k, err := s.Open(d.Title, kek, mac)
	if err != nil {
		return KeyRow{}, err
	}
	return r.sealRow(s.Ref(), suite, k)
}
