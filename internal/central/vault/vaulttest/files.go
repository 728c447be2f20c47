package vaulttest

import (
	"crypto/rand"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

func (r *rig) enrolment() {
	id, err := enrol.NewIdentity(enrol.Terminal, tsp, rand.Reader)
	r.ok(err)
	good, err := id.File(r.hold.Transport(), rand.Reader)
	r.ok(err)
	_, _, err = r.stranger.AdoptDevice(good)
	r.refused("in another vault", transport.ErrNotForUs, err)
	for name, alter := range map[string]func(f *enrol.File){
		"its transport key":  func(f *enrol.File) { f.Vault.Key = flipped(f.Vault.Key, 9) },
		"no transport key":   func(f *enrol.File) { f.Vault.Key = nil },
		"its KEK":            func(f *enrol.File) { f.KEK = flipped(f.KEK, 9) },
		"its MAC key":        func(f *enrol.File) { f.MAC = flipped(f.MAC, 9) },
		"one key twice":      func(f *enrol.File) { f.MAC = f.KEK },
		"a short key":        func(f *enrol.File) { f.MAC = f.MAC[:16] },
		"16 equal bytes":     func(f *enrol.File) { f.KEK = r.constant(f) },
		"under other scheme": func(f *enrol.File) { f.Vault.Scheme = "rsa-pkcs1" },
	} {
		f := good
		alter(&f)
		if _, _, err := r.hold.AdoptDevice(f); err == nil {
			r.t.Errorf("%s: taken", name)
		}
	}
	kek, mac, err := r.hold.AdoptDevice(good)
	r.ok(err)
	if kek.Fingerprint != id.KEK().Fingerprint() || mac.Fingerprint != id.MAC().Fingerprint() {
		r.t.Error("other keys came in")
	}
}

// constant seals a key of zeros anew, and its file with it.
func (r *rig) constant(f *enrol.File) []byte {
	r.t.Helper()
	env, under, err := transport.Seal(rand.Reader, r.hold.Transport())
	r.ok(err)
	zeros, err := key.NewWrapping(make([]byte, key.Size))
	r.ok(err)
	mac, err := key.GenerateMAC(rand.Reader)
	r.ok(err)
	f.Vault = env
	f.MAC, err = under.Wrap(mac)
	r.ok(err)
	blob, err := under.Wrap(zeros)
	r.ok(err)
	return blob
}

func (r *rig) consignment() {
	env, under, err := transport.Seal(rand.Reader, r.hold.Transport())
	r.ok(err)
	_, err = r.stranger.OpenConsignment(env.Key)
	r.refused("another vault's", transport.ErrSealed, err)
	_, err = r.hold.OpenConsignment(flipped(env.Key, 100))
	r.refused("altered", transport.ErrSealed, err)
	_, err = r.hold.OpenConsignment(nil)
	r.refused("none", transport.ErrSealed, err)
	c, err := r.hold.OpenConsignment(env.Key)
	r.ok(err)
	for i, which := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
		k := r.unicast()
		blob, err := under.Wrap(k)
		r.ok(err)
		for name, bad := range map[string][]byte{"altered": flipped(blob, 5), "short": blob[:16], "none": nil} {
			_, err := c.Adopt(ref(meter, which, 3), 0, bad)
			r.refused(name, vault.ErrConsigned, err)
		}
		row, err := c.Adopt(ref(meter, which, 3), uint8(i), blob)
		r.ok(err)
		if row.Fingerprint != k.Fingerprint() || row.CheckValue != k.CheckValue() || row.Suite != uint8(i) || row.Ref != ref(meter, which, 3) {
			r.t.Errorf("%s came in as %+v", which, row)
		}
		r.ok(r.hold.CheckRow(row))
	}
	r.ok(c.Close())
}

func (r *rig) release() {
	env, out, err := r.hold.NewConsignment(rand.Reader, r.stranger.Transport())
	r.ok(err)
	r.ok(env.For(r.stranger.Transport()))
	in, err := r.stranger.OpenConsignment(env.Key)
	r.ok(err)
	lan, _ := r.adopt(role.CCLAN)
	for _, row := range []vault.KeyRow{r.ccc, lan, r.fresh(role.CCIS, 7)} {
		moved := row
		moved.Ref.Meter = neighbor
		_, err := out.Release(moved)
		r.refused("moved", vault.ErrRow, err)
		blob, err := out.Release(row)
		r.ok(err)
		there, err := in.Adopt(row.Ref, row.Suite, blob)
		r.ok(err)
		if there.Fingerprint != row.Fingerprint || there.CheckValue != row.CheckValue {
			r.t.Errorf("%s is another key there", row.Ref)
		}
		r.refused("the row itself", vault.ErrRow, r.stranger.CheckRow(row))
	}
	r.ok(out.Close())
	r.ok(in.Close())
}
