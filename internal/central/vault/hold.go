package vault

import (
	"crypto/cipher"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// Hold is where the long-term keys of a vault can be worked with: the root in the memory of this process ([Root]), or a
// token. It takes rows, which are public, and gives rows, keys wrapped for somebody, and what protects an association;
// no key crosses it. It writes nothing down: order, journal, audit and counters are [Software]'s.
//
// Every operation checks the rows that it is given first: a row that was damaged, altered or moved is refused with
// [ErrRow] before its blob is touched, a key in a role that the operation is not for with [ErrRole]. A Hold is safe for
// concurrent use.
type Hold interface {
	// ID names the vault for ever; String says it for people.
	ID() string
	String() string
	// Kind tells where the keys are: "software", or the kind of token.
	Kind() string
	// Describe tells more of it.
	Describe() Description
	// Signer signs the checkpoints of the audit log.
	Signer() *audit.Signer
	// Transport is the key that makers, devices and other head-ends seal keys to.
	Transport() transport.Public
	// Recipient is what the vault's own backups are encrypted to; Decrypt reads one.
	Recipient() string
	Decrypt(in io.Reader) (io.Reader, error)
	// Made tells what was agreed when the vault was made.
	Made() Made
	// The terms of its root.
	RootTerms

	// NewRow makes a key of CC_LAN, CC_LOCALE or CC_IS and puts it at rest. A token draws the key itself, a root in memory
	// draws it from rand.
	NewRow(rand io.Reader, ref role.KeyRef, suite uint8) (KeyRow, error)
	// CheckRow proves that a row opens: that it is sound, bound to its meter, role and version in this vault, and that the
	// key in it is the one that the row says.
	CheckRow(row KeyRow) error
	// WrapRow wraps a key of the same meter under its CCC (RFC 3394, 24 bytes), for key_transfer.
	WrapRow(ccc, row KeyRow) ([]byte, error)
	// RowAEAD gives what opens associations with CC_IS and CC_LAN, with the nonce and tag of DLMS (12 bytes each). Its Seal
	// cannot tell an error: where a token fails it appends nothing, which the packages of dlms take for one.
	RowAEAD(row KeyRow) (cipher.AEAD, error)
	// SealRow fills in a key sealed to a device: CC_LAN or CC_LOCALE under the device's own two keys. The head has all but
	// blob and MAC.
	SealRow(d DeviceRow, head enrol.SealedKey, row KeyRow) (enrol.SealedKey, error)
	// SealDerived fills in a key derived from CC_LOCALE for a terminal until the head's last day (dlms/key, Derive), under
	// the terminal's own two keys. The head has all but blob and MAC. A token computes the AES-CMAC itself; its result,
	// which is no long-term key, may be in the memory of this process for a moment.
	SealDerived(d DeviceRow, head enrol.SealedKey, row KeyRow) (enrol.SealedKey, error)
	// SealGrant completes a grant, whose keys are sealed already, for its terminal.
	SealGrant(d DeviceRow, g enrol.Grant) (enrol.Grant, error)

	// VerifyLog says whether a terminal wrote its log file, by the MAC under the key that it has enrolled with.
	VerifyLog(d DeviceRow, f enrol.LogFile) error

	// CheckDevice proves that the two keys of a device open.
	CheckDevice(d DeviceRow) error
	// AdoptDevice puts the two keys of an enrolment file at rest.
	AdoptDevice(f enrol.File) (kek, mac DeviceKeyRow, err error)
	// OpenConsignment opens the AES key that the keys of a file are wrapped under. It stays inside.
	OpenConsignment(wrapped []byte) (Consignment, error)
	// NewConsignment makes such a key for another vault, and wraps it to its transport key.
	NewConsignment(rand io.Reader, to transport.Public) (transport.Envelope, Consignment, error)
	// AdoptCopy puts a key at rest that comes back from the device that it was sealed to.
	AdoptCopy(d DeviceRow, s enrol.SealedKey, suite uint8) (KeyRow, error)

	// Close gives the keys up. What is in use when it is called fails.
	Close() error
}

// Consignment is a file's AES key while the keys of its rows come in or go out. It is for one goroutine.
type Consignment interface {
	// Adopt puts a key at rest that is wrapped under the consignment (RFC 3394, 24 bytes). Its check value and fingerprint are
	// found where the key is; a blob that does not open is refused with [ErrConsigned].
	Adopt(ref role.KeyRef, suite uint8, blob []byte) (KeyRow, error)
	// Release wraps the key of a row under the consignment.
	Release(row KeyRow) ([]byte, error)
	Close() error
}

// Identity is what the root file of every vault holds, wherever its keys are: whose it is, what signs its audit log, and
// what its backups are encrypted to. It prints the name alone.
type Identity struct {
	id     string
	signer *audit.Signer
	reader func() *age.X25519Identity // in a closure, which reflection does not see into
}

// ID names the vault.
func (i *Identity) ID() string { return i.id }

// Recipient is what the vault's backups are encrypted to.
func (i *Identity) Recipient() string { return i.reader().Recipient().String() }

// Decrypt reads what was encrypted to the vault's recipient: a file of its own backup.
func (i *Identity) Decrypt(in io.Reader) (io.Reader, error) { return age.Decrypt(in, i.reader()) }

// Signer signs the checkpoints of the audit log.
func (i *Identity) Signer() *audit.Signer { return i.signer }

// String names the vault.
func (i *Identity) String() string { return "vault " + i.id }

// Format prints String for every verb.
func (i *Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, i.String()) }
