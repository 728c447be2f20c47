// Package vaulttest holds the two kinds of a vault to the same rules: every operation of a [vault.Hold], what each refuses, and
// that what it makes is understood by meters and devices, which know nothing of vaults.
package vaulttest

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// Kit is one kind of vault.
type Kit struct {
	// New makes a vault; Again opens it once more, as another process would.
	New   func(t testing.TB) vault.Hold
	Again func(t testing.TB, h vault.Hold) vault.Hold
}

var (
	meter    = dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 1}
	neighbor = dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 2}
	dc       = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
	tsp      = dlms.SystemTitle{'M', 'S', 'T', 0, 0, 0, 0, 1}
	at       = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
)

// Adopt puts a key that the test knows at rest, as the file of its maker does.
func Adopt(t testing.TB, h vault.Hold, ref role.KeyRef, k key.Wrappable) vault.KeyRow {
	t.Helper()
	env, under, err := transport.Seal(rand.Reader, h.Transport())
	if err != nil {
		t.Fatal(err)
	}
	blob, err := under.Wrap(k)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.OpenConsignment(env.Key)
	if err != nil {
		t.Fatal(err)
	}
	row, err := c.Adopt(ref, 0, blob)
	if err = errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return row
}

// Enrol puts a device's keys at rest.
func Enrol(t testing.TB, h vault.Hold, id *enrol.Identity) vault.DeviceRow {
	t.Helper()
	f, err := id.File(h.Transport(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := vault.DeviceRow{Title: id.Title(), Kind: string(id.Kind())}
	if d.KEK, d.MAC, err = h.AdoptDevice(f); err != nil {
		t.Fatal(err)
	}
	return d
}

// rig is one vault with a meter whose CCC the test knows.
type rig struct {
	Kit
	t    *testing.T
	hold vault.Hold
	// stranger is another vault of the kind.
	stranger vault.Hold
	master   key.Master
	ccc      vault.KeyRow
}

// Run runs the suite.
func Run(t *testing.T, k Kit) {
	shared, stranger := k.New(t), k.New(t)
	for _, c := range []struct {
		name string
		test func(r *rig)
		own  bool // a vault of its own, which it changes
	}{
		{"a vault that is opened again is the same", (*rig).same, false},
		{"a new key is named, and the meter unwraps it", (*rig).newKey, false},
		{"what was wrapped is unwrapped by the meter", (*rig).wrap, false},
		{"only CCC wraps, and only keys of its own meter", (*rig).wrapRefuses, false},
		{"a row that was moved or altered opens nowhere", (*rig).moved, false},
		{"a row of another vault opens nowhere", (*rig).foreign, false},
		{"an association's cipher is that of dlms", (*rig).aead, false},
		{"a cipher refuses what was altered", (*rig).aeadRefuses, false},
		{"a cipher serves many at once", (*rig).aeadAtOnce, false},
		{"law 1: no association is opened with CCC or CC_LOCALE", (*rig).aeadRoles, false},
		{"a device opens what was sealed to it", (*rig).seal, false},
		{"nothing is sealed under another's name, nor in a role that is never handed out", (*rig).sealRefuses, false},
		{"a terminal opens what was derived for it, and the meter derives the same", (*rig).derived, false},
		{"nothing is derived for anybody but a terminal, nor without a last day", (*rig).deriveRefuses, false},
		{"a terminal verifies its grant", (*rig).grant, false},
		{"a copy comes back from its device and from no other", (*rig).adoptCopy, false},
		{"a terminal's log is its own, as it wrote it", (*rig).terminalLog, false},
		{"an enrolment file opens in its vault alone", (*rig).enrolment, false},
		{"the keys of a file come in, and what is none is refused", (*rig).consignment, false},
		{"keys go to another vault and are the same there", (*rig).release, false},
		{"a device's row is bound to it", (*rig).device, false},
		{"terms are staged, seal, open and are retired", (*rig).terms, true},
		{"another process learns of a new term", (*rig).termsElsewhere, true},
		{"an attestation is its term's and its text's", (*rig).attest, true},
		{"what was agreed at its making stays", (*rig).made, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{Kit: k, t: t, hold: shared, stranger: stranger}
			if c.own {
				r.hold = k.New(t)
			}
			r.master = r.masterKey()
			r.ccc = Adopt(t, r.hold, ref(meter, role.CCC, 1), r.master)
			c.test(r)
		})
	}
}

func ref(m dlms.SystemTitle, r role.Role, version uint32) role.KeyRef {
	return role.KeyRef{Meter: m, Role: r, Version: version}
}

func (r *rig) masterKey() key.Master {
	r.t.Helper()
	k, err := key.GenerateMaster(rand.Reader)
	r.ok(err)
	return k
}

func (r *rig) unicast() key.Unicast {
	r.t.Helper()
	k, err := key.GenerateUnicast(rand.Reader)
	r.ok(err)
	return k
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) refused(what string, want, got error) {
	r.t.Helper()
	if !errors.Is(got, want) {
		r.t.Errorf("%s: want %q, got %v", what, want, got)
	}
}

// adopt puts a known key of the meter at rest.
func (r *rig) adopt(which role.Role) (vault.KeyRow, key.Unicast) {
	r.t.Helper()
	k := r.unicast()
	return Adopt(r.t, r.hold, ref(meter, which, 1), k), k
}

func (r *rig) fresh(which role.Role, version uint32) vault.KeyRow {
	r.t.Helper()
	row, err := r.hold.NewRow(rand.Reader, ref(meter, which, version), 0)
	r.ok(err)
	return row
}

func (r *rig) enrolled(kind enrol.Kind, title dlms.SystemTitle) (vault.DeviceRow, *enrol.Identity) {
	r.t.Helper()
	id, err := enrol.NewIdentity(kind, title, rand.Reader)
	r.ok(err)
	return Enrol(r.t, r.hold, id), id
}

func (r *rig) same() {
	again := r.Again(r.t, r.hold)
	if again.ID() != r.hold.ID() || again.Signer().PublicKey() != r.hold.Signer().PublicKey() || again.Recipient() != r.hold.Recipient() || again.Transport() != r.hold.Transport() {
		r.t.Error("another vault came back")
	}
	r.ok(again.CheckRow(r.ccc))
	row := r.fresh(role.CCIS, 2)
	r.ok(again.CheckRow(row))
	if d := r.hold.Describe(); d.Kind != r.hold.Kind() || d.Associations == "" {
		r.t.Errorf("it tells nothing of itself: %+v", d)
	}
}

func (r *rig) newKey() {
	seen := map[key.Fingerprint]bool{}
	for _, which := range []role.Role{role.CCLAN, role.CCLOCALE, role.CCIS, role.CCIS} {
		row := r.fresh(which, 2)
		if row.Term != r.hold.Term() || row.Ref != ref(meter, which, 2) || seen[row.Fingerprint] {
			r.t.Errorf("%s: got %+v", which, row)
		}
		seen[row.Fingerprint] = true
		r.ok(r.hold.CheckRow(row))
		r.meterTakes(row)
	}
	_, err := r.hold.NewRow(rand.Reader, ref(meter, role.CCC, 2), 0)
	r.refused("a CCC of the vault's own", vault.ErrRole, err)
}

// meterTakes has a meter, which has CCC alone, unwrap what the vault made, and finds the key that the row names.
func (r *rig) meterTakes(row vault.KeyRow) key.Unicast {
	r.t.Helper()
	blob, err := r.hold.WrapRow(r.ccc, row)
	r.ok(err)
	k, err := r.master.UnwrapUnicast(blob)
	r.ok(err)
	if k.Fingerprint() != row.Fingerprint || k.CheckValue() != row.CheckValue || k.Weak() {
		r.t.Errorf("%s: the meter has key %s, the row says %s", row.Ref, k.CheckValue(), row.CheckValue)
	}
	return k
}

func (r *rig) wrap() {
	for _, which := range []role.Role{role.CCLAN, role.CCLOCALE, role.CCIS} {
		row, k := r.adopt(which)
		if row.Fingerprint != k.Fingerprint() || row.CheckValue != k.CheckValue() {
			r.t.Errorf("%s: other names than the key's", which)
		}
		if !r.meterTakes(row).Equal(k) {
			r.t.Errorf("%s: the meter has another key", which)
		}
	}
}

func (r *rig) wrapRefuses() {
	lan, _ := r.adopt(role.CCLAN)
	is, _ := r.adopt(role.CCIS)
	_, err := r.hold.WrapRow(is, lan)
	r.refused("CC_LAN under CC_IS", vault.ErrRole, err)
	_, err = r.hold.WrapRow(r.ccc, r.ccc)
	r.refused("CCC under itself", vault.ErrRole, err)
	other := Adopt(r.t, r.hold, ref(neighbor, role.CCC, 1), r.masterKey())
	_, err = r.hold.WrapRow(other, lan)
	r.refused("CC_LAN under another meter's CCC", vault.ErrRow, err)
	other.Ref.Meter = meter
	_, err = r.hold.WrapRow(other, lan)
	r.refused("CC_LAN under another meter's CCC that was moved here", vault.ErrRow, err)
}

func (r *rig) made() {
	m := r.Again(r.t, r.hold).Made()
	if m.Ceremony != r.hold.Made().Ceremony || m.Ceremony == "" || m.Policy.Approvals < 2 {
		r.t.Errorf("got %+v", m)
	}
}
