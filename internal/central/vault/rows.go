package vault

import (
	"encoding/binary"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// The texts that begin what the MAC of a row covers. They never change: stored rows would not open.
const (
	keyRowText    = "meterseal key row 1"
	deviceRowText = "meterseal device key row 1"
)

// Bound is what the MAC of a key row covers, as [key.MAC.Sum] and [key.Framed] take it: whose key it is, in which vault,
// and the sealed key. The vault's ID stands for the tenant: one vault holds the keys of one tenant, whose name goes into
// the ID ([Ceremony]), so a row of another tenant does not verify. State and times are not in it; no state makes a key open that would not otherwise, as every version is checked against its state
// where it is used and the journal holds the states too.
func (k KeyRow) Bound(vault string) [][]byte {
	nums := binary.BigEndian.AppendUint32([]byte{byte(k.Ref.Role), k.Suite}, k.Ref.Version)
	nums = binary.BigEndian.AppendUint32(nums, k.Term)
	return [][]byte{[]byte(keyRowText), []byte(vault), k.Ref.Meter[:], nums, k.CheckValue[:], k.Fingerprint[:], k.Sealed}
}

// sealRow puts a new key of a meter at rest.
func (r *Root) sealRow(ref role.KeyRef, suite uint8, k key.Wrappable) (KeyRow, error) {
	term, t := r.sealing()
	blob, err := t.wrap.Wrap(k)
	if err != nil {
		return KeyRow{}, fmt.Errorf("vault: seal row of %s: %w", ref, err)
	}
	row := KeyRow{Ref: ref, Suite: suite, Term: term, Sealed: blob, CheckValue: k.CheckValue(), Fingerprint: k.Fingerprint()}
	sum := t.mac.Sum(row.Bound(r.id)...)
	row.MAC = sum[:]
	return row, nil
}

// openRow opens a row as the type that its role has. The MAC comes first: a row that was moved is refused before
// its blob is touched.
func openRow[K key.Key](r *Root, row KeyRow, unwrap func(key.Wrapping, []byte) (K, error)) (K, error) {
	var none K
	t, err := r.term(row.Term)
	if err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrRow, row.Ref, err)
	}
	if !t.mac.Verify(row.MAC, row.Bound(r.id)...) {
		return none, fmt.Errorf("%w: %s", ErrRow, row.Ref)
	}
	k, err := unwrap(t.wrap, row.Sealed)
	if err != nil || k.Fingerprint() != row.Fingerprint {
		return none, fmt.Errorf("%w: %s", ErrRow, row.Ref)
	}
	return k, nil
}

// openUnicast opens a row of CC_LAN, CC_LOCALE or CC_IS, and no other.
func (r *Root) openUnicast(row KeyRow) (key.Unicast, error) {
	if row.Ref.Role == role.CCC {
		return key.Unicast{}, fmt.Errorf("%w: %s", ErrRole, row.Ref)
	}
	return openRow(r, row, key.Wrapping.UnwrapUnicast)
}

// openMaster opens a row of CCC, and no other.
func (r *Root) openMaster(row KeyRow) (key.Master, error) {
	if row.Ref.Role != role.CCC {
		return key.Master{}, fmt.Errorf("%w: %s", ErrRole, row.Ref)
	}
	return openRow(r, row, key.Wrapping.UnwrapMaster)
}

// The two keys of a device, in what binds their rows.
const (
	UseKEK = "kek"
	UseMAC = "mac"
)

// Bound is what the MAC of a device's key row covers: whose key it is, for which use, in which vault.
func (k DeviceKeyRow) Bound(vault string, device dlms.SystemTitle, use string) [][]byte {
	nums := binary.BigEndian.AppendUint32(nil, k.Term)
	return [][]byte{[]byte(deviceRowText), []byte(vault), device[:], []byte(use), nums, k.Fingerprint[:], k.Sealed}
}

func (r *Root) sealDeviceRow(device dlms.SystemTitle, use string, k key.Wrappable) (DeviceKeyRow, error) {
	term, t := r.sealing()
	blob, err := t.wrap.Wrap(k)
	if err != nil {
		return DeviceKeyRow{}, fmt.Errorf("vault: seal %s of %s: %w", use, device, err)
	}
	row := DeviceKeyRow{Term: term, Sealed: blob, Fingerprint: k.Fingerprint()}
	sum := t.mac.Sum(row.Bound(r.id, device, use)...)
	row.MAC = sum[:]
	return row, nil
}

// openDevice opens the two keys of a device.
func (r *Root) openDevice(d DeviceRow) (kek key.Wrapping, mac key.MAC, err error) {
	kek, err = openDeviceRow(r, d.Title, UseKEK, d.KEK, key.Wrapping.UnwrapWrapping)
	if err != nil {
		return kek, mac, err
	}
	mac, err = openDeviceRow(r, d.Title, UseMAC, d.MAC, key.Wrapping.UnwrapMAC)
	return kek, mac, err
}

func openDeviceRow[K key.Key](r *Root, device dlms.SystemTitle, use string, row DeviceKeyRow,
	unwrap func(key.Wrapping, []byte) (K, error),
) (K, error) {
	var none K
	t, err := r.term(row.Term)
	if err != nil {
		return none, fmt.Errorf("%w: %s of %s: %w", ErrRow, use, device, err)
	}
	if !t.mac.Verify(row.MAC, row.Bound(r.id, device, use)...) {
		return none, fmt.Errorf("%w: %s of %s", ErrRow, use, device)
	}
	k, err := unwrap(t.wrap, row.Sealed)
	if err != nil || k.Fingerprint() != row.Fingerprint {
		return none, fmt.Errorf("%w: %s of %s", ErrRow, use, device)
	}
	return k, nil
}
