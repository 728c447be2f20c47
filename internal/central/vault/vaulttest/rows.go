package vaulttest

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"slices"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// alterations are what can be done to a row: every field that its MAC covers, and the MAC.
var alterations = map[string]func(row *vault.KeyRow){
	"another meter":         func(row *vault.KeyRow) { row.Ref.Meter = neighbor },
	"another version":       func(row *vault.KeyRow) { row.Ref.Version++ },
	"another suite":         func(row *vault.KeyRow) { row.Suite ^= 1 },
	"another term":          func(row *vault.KeyRow) { row.Term += 7 },
	"no term":               func(row *vault.KeyRow) { row.Term = 0 },
	"another blob":          func(row *vault.KeyRow) { row.Sealed = flipped(row.Sealed, 3) },
	"a short blob":          func(row *vault.KeyRow) { row.Sealed = row.Sealed[:16] },
	"no blob":               func(row *vault.KeyRow) { row.Sealed = nil },
	"another MAC":           func(row *vault.KeyRow) { row.MAC = flipped(row.MAC, 0) },
	"a short MAC":           func(row *vault.KeyRow) { row.MAC = row.MAC[:8] },
	"no MAC":                func(row *vault.KeyRow) { row.MAC = nil },
	"another check value":   func(row *vault.KeyRow) { row.CheckValue[0] ^= 1 },
	"another fingerprint":   func(row *vault.KeyRow) { row.Fingerprint[15] ^= 1 },
	"another role's":        func(row *vault.KeyRow) { row.Ref.Role = other(row.Ref.Role) },
	"a blob of nothing but": func(row *vault.KeyRow) { row.Sealed = make([]byte, len(row.Sealed)) },
}

// other is a role that does the same things, so that nothing but the MAC tells the two apart.
func other(r role.Role) role.Role {
	if r == role.CCLAN {
		return role.CCIS
	}
	return role.CCLAN
}

func flipped(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1
	return out
}

func (r *rig) moved() {
	good, _ := r.adopt(role.CCLAN)
	d, _ := r.enrolled(enrol.Concentrator, dc)
	for name, alter := range alterations {
		row := good
		alter(&row)
		ccc := r.ccc
		alter(&ccc)
		r.refused(name+": check", vault.ErrRow, r.hold.CheckRow(row))
		if row.Ref.Meter == meter {
			_, err := r.hold.WrapRow(r.ccc, row)
			r.refused(name+": wrap", vault.ErrRow, err)
		}
		if ccc.Ref.Meter == meter && ccc.Ref.Role == role.CCC {
			_, err := r.hold.WrapRow(ccc, good)
			r.refused(name+": wrap under", vault.ErrRow, err)
		}
		_, err := r.hold.RowAEAD(row)
		r.refused(name+": associate", vault.ErrRow, err)
		if row.Ref.Role == role.CCLAN {
			_, err = r.hold.SealRow(d, head(row, dc), row)
			r.refused(name+": seal", vault.ErrRow, err)
		}
		_, err = r.hold.ReSealRow(row)
		r.refused(name+": re-seal", vault.ErrRow, err)
	}
	r.ok(r.hold.CheckRow(good))
}

func (r *rig) foreign() {
	stranger := r.stranger
	row, _ := r.adopt(role.CCIS)
	r.refused("check", vault.ErrRow, stranger.CheckRow(row))
	_, err := stranger.RowAEAD(row)
	r.refused("associate", vault.ErrRow, err)
	_, err = stranger.WrapRow(r.ccc, row)
	r.refused("wrap", vault.ErrRow, err)
	d, _ := r.enrolled(enrol.Concentrator, dc)
	r.refused("a device", vault.ErrRow, stranger.CheckDevice(d))
}

func (r *rig) ciphers(which role.Role) (mine, theirs cipher.AEAD) {
	r.t.Helper()
	row, k := r.adopt(which)
	mine, err := r.hold.RowAEAD(row)
	r.ok(err)
	theirs, err = k.AEAD()
	r.ok(err)
	return mine, theirs
}

// nonceOf is the meter's title and a counter.
func nonceOf(counter ...byte) []byte { return slices.Concat(meter[:], counter) }

func (r *rig) aead() {
	for _, which := range []role.Role{role.CCIS, role.CCLAN} {
		mine, theirs := r.ciphers(which)
		if mine.NonceSize() != 12 || mine.Overhead() != 12 {
			r.t.Fatalf("nonce of %d, tag of %d", mine.NonceSize(), mine.Overhead())
		}
		for i, n := range []int{0, 1, 15, 16, 100, 2000} {
			nonce := nonceOf(0, 0, 1, byte(i))
			text, aad := bytes.Repeat([]byte{byte(n)}, n), []byte{0x30, byte(n)}
			want := theirs.Seal(nil, nonce, text, aad)
			if got := mine.Seal([]byte("head"), nonce, text, aad); !bytes.Equal(got, append([]byte("head"), want...)) {
				r.t.Errorf("%d bytes: sealed otherwise", n)
			}
			if got, err := mine.Open([]byte("head"), nonce, want, aad); err != nil || !bytes.Equal(got, append([]byte("head"), text...)) {
				r.t.Errorf("%d bytes: opened otherwise: %v", n, err)
			}
			if got := mine.Seal(text[:0], nonce, text, aad); !bytes.Equal(got, want) {
				r.t.Errorf("%d bytes: sealed in place otherwise", n)
			}
		}
		r.speaks(mine, theirs)
	}
}

// speaks has two ends of dlms talk, the central system's and the meter's.
func (r *rig) speaks(mine, theirs cipher.AEAD) {
	r.t.Helper()
	is, err := security.NewCipher(mine, key.Authentication{})
	r.ok(err)
	m, err := security.NewCipher(theirs, key.Authentication{})
	r.ok(err)
	is, node := is.Clone(), dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}
	for _, ctl := range []security.Control{security.Authenticated | security.Encrypted, security.Authenticated} {
		apdu, err := is.Seal(nil, ctl, node, 7, []byte("initiate request"))
		r.ok(err)
		plain, err := m.Open(nil, ctl, node, 7, apdu)
		if err != nil || string(plain) != "initiate request" {
			r.t.Errorf("the meter does not understand: %v", err)
		}
		answer, err := m.Seal(nil, ctl, meter, 9, []byte("initiate response"))
		r.ok(err)
		if plain, err = is.Open(nil, ctl, meter, 9, answer); err != nil || string(plain) != "initiate response" {
			r.t.Errorf("the meter is not understood: %v", err)
		}
	}
	if is.GMAC(node, 8, []byte("challenge")) != m.GMAC(node, 8, []byte("challenge")) {
		r.t.Error("HLS pass 3 is another one than the meter's")
	}
}

func (r *rig) aeadRefuses() {
	mine, theirs := r.ciphers(role.CCIS)
	nonce, aad := nonceOf(0, 0, 0, 1), []byte{0x30}
	good := theirs.Seal(nil, nonce, []byte("text"), aad)
	for name, c := range map[string]struct{ nonce, text, aad []byte }{
		"text":  {nonce, flipped(good, 0), aad},
		"tag":   {nonce, flipped(good, len(good)-1), aad},
		"nonce": {flipped(nonce, 11), good, aad},
		"aad":   {nonce, good, flipped(aad, 0)},
		"short": {nonce, good[:11], aad},
		"none":  {nonce, nil, aad},
	} {
		if out, err := mine.Open(nil, c.nonce, c.text, c.aad); err == nil || out != nil {
			r.t.Errorf("%s: opened", name)
		}
	}
	if _, err := mine.Open(nil, nonce, good, aad); err != nil {
		r.t.Errorf("after what was refused: %v", err)
	}
}

func (r *rig) aeadAtOnce() {
	mine, theirs := r.ciphers(role.CCLAN)
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			for i := range 8 {
				nonce := nonceOf(0, 1, byte(g), byte(i))
				text := bytes.Repeat([]byte{byte(g)}, 20+i)
				sealed := mine.Seal(nil, nonce, text, nil)
				if got, err := theirs.Open(nil, nonce, sealed, nil); err != nil || !bytes.Equal(got, text) {
					r.t.Errorf("%d, %d: %v", g, i, err)
				}
			}
		})
	}
	wg.Wait()
}

func (r *rig) aeadRoles() {
	_, err := r.hold.RowAEAD(r.ccc)
	r.refused("CCC", vault.ErrRole, err)
	local, _ := r.adopt(role.CCLOCALE)
	_, err = r.hold.RowAEAD(local)
	r.refused("CC_LOCALE", vault.ErrRole, err)
	posing := r.ccc
	posing.Ref.Role = role.CCIS
	_, err = r.hold.RowAEAD(posing)
	r.refused("CCC in the name of CC_IS", vault.ErrRow, err)
}

func (r *rig) terms() {
	old, k := r.adopt(role.CCIS)
	d, id := r.enrolled(enrol.Concentrator, dc)
	next, err := r.hold.StageTerm(rand.Reader, at)
	r.ok(err)
	if again, err := r.hold.StageTerm(rand.Reader, at); err != nil || again != next || r.hold.Term() != old.Term {
		r.t.Fatalf("staged %d, again %d, sealing under %d: %v", next, again, r.hold.Term(), err)
	}
	r.ok(r.hold.SealUnder(next))
	if row := r.fresh(role.CCLAN, 2); row.Term != next {
		r.t.Errorf("sealed under term %d", row.Term)
	}
	r.ok(r.hold.CheckRow(old))
	row, err := r.hold.ReSealRow(old)
	r.ok(err)
	if row.Term != next || row.Ref != old.Ref || row.Fingerprint != old.Fingerprint || bytes.Equal(row.Sealed, old.Sealed) {
		r.t.Errorf("re-sealed as %+v", row)
	}
	ccc, err := r.hold.ReSealRow(r.ccc)
	r.ok(err)
	fresh, err := r.hold.ReSealDevice(d)
	r.ok(err)
	r.refused("retiring the one that seals", vault.ErrTermOrder, r.hold.RetireTerm(next, at))
	r.ok(r.hold.RetireTerm(old.Term, at))
	r.ok(r.hold.RetireTerm(old.Term, at))
	r.refused("under a retired term", vault.ErrTermRetired, r.hold.CheckRow(old))
	r.refused("under a retired term", vault.ErrRow, r.hold.CheckDevice(d))
	r.ok(r.hold.CheckDevice(fresh))
	r.ccc = ccc
	if !r.meterTakes(row).Equal(k) {
		r.t.Error("re-sealing made another key")
	}
	lan := r.fresh(role.CCLAN, 3)
	sealed, err := r.hold.SealRow(fresh, head(lan, dc), lan)
	r.ok(err)
	if _, err := id.Open(sealed); err != nil {
		r.t.Errorf("re-sealing made other keys of the device: %v", err)
	}
	again := r.Again(r.t, r.hold)
	r.ok(again.CheckRow(row))
	r.refused("opened again", vault.ErrTermRetired, again.CheckRow(old))
}

func (r *rig) termsElsewhere() {
	elsewhere := r.Again(r.t, r.hold)
	next, err := r.hold.StageTerm(rand.Reader, at)
	r.ok(err)
	r.ok(r.hold.SealUnder(next))
	row := r.fresh(role.CCIS, 2)
	r.ok(elsewhere.CheckRow(row))
	if elsewhere.Term() != next {
		r.t.Errorf("the other process still seals under %d", elsewhere.Term())
	}
	names := elsewhere.TermNames()
	if len(names) != 2 || names[0].MACFingerprint == names[1].MACFingerprint || names[1].MACFingerprint.IsZero() {
		r.t.Errorf("names of terms: %+v", names)
	}
}

func (r *rig) attest() {
	next, err := r.hold.StageTerm(rand.Reader, at)
	r.ok(err)
	seen := map[string]bool{}
	for _, c := range []struct {
		hold vault.Hold
		term uint32
		text string
	}{{r.hold, 1, "a"}, {r.hold, 1, "b"}, {r.hold, next, "a"}, {r.stranger, 1, "a"}} {
		sum, err := c.hold.Attest(c.term, []byte(c.text))
		r.ok(err)
		if len(sum) != key.BlockSize || seen[string(sum)] {
			r.t.Errorf("term %d, %q: an attestation that there was already", c.term, c.text)
		}
		seen[string(sum)] = true
	}
	sum, err := r.Again(r.t, r.hold).Attest(1, []byte("a"))
	r.ok(err)
	if !seen[string(sum)] {
		r.t.Error("another process attests otherwise")
	}
}
