//go:build pkcs11

package pkcs11

import (
	"crypto/rand"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
	"github.com/meterseal/meterseal/internal/role"
)

// benchRows are a meter's CCC and a key to be wrapped under it.
func benchRows(b *testing.B, v *Token) (ccc, row vault.KeyRow) {
	b.Helper()
	meter := dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 1}
	k, err := key.GenerateMaster(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	ccc = vaulttest.Adopt(b, v, role.KeyRef{Meter: meter, Role: role.CCC, Version: 1}, k)
	if row, err = v.NewRow(nil, role.KeyRef{Meter: meter, Role: role.CCLAN, Version: 1}, 0); err != nil {
		b.Fatal(err)
	}
	return ccc, row
}

// BenchmarkPKCS11Wrap is Hold.WrapRow in a token, what one key_transfer asks of a vault: the MACs of two rows verified, CCC
// unwrapped, the key unwrapped, wrapped under CCC, and both destroyed, all in the token. One at a time.
func BenchmarkPKCS11Wrap(b *testing.B) {
	h := newHSM(b)
	v := h.vault(b, h.options())
	ccc, row := benchRows(b, v)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.WrapRow(ccc, row); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPKCS11WrapFloor is the same token calls in a bare loop over one session, with the same templates and texts.
func BenchmarkPKCS11WrapFloor(b *testing.B) {
	h := newHSM(b)
	v := h.vault(b, h.options())
	ccc, row := benchRows(b, v)
	texts := [][]byte{key.Framed(ccc.Bound(v.ID())...), key.Framed(row.Bound(v.ID())...)}
	must(b, v.do("bench", func(s *session) error {
		p, err := s.term(v.Term())
		if err != nil {
			return err
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := floorWrap(v, s.h, p, ccc, row, texts); err != nil {
				return err
			}
		}
		return nil
	}))
}

func floorWrap(v *Token, s p11.SessionHandle, p pair, ccc, row vault.KeyRow, texts [][]byte) error {
	if err := v.ck.VerifyInit(s, mechCMAC, p.mac); err != nil {
		return err
	}
	if err := v.ck.Verify(s, texts[0], ccc.MAC); err != nil {
		return err
	}
	master, err := v.ck.UnwrapKey(s, mechWrap, p.wrap, ccc.Sealed, v.tmpl.wrap)
	if err != nil {
		return err
	}
	if err := v.ck.VerifyInit(s, mechCMAC, p.mac); err != nil {
		return err
	}
	if err := v.ck.Verify(s, texts[1], row.MAC); err != nil {
		return err
	}
	k, err := v.ck.UnwrapKey(s, mechWrap, p.wrap, row.Sealed, v.tmpl.move)
	if err != nil {
		return err
	}
	if _, err := v.ck.WrapKey(s, mechWrap, master, k); err != nil {
		return err
	}
	if err := v.ck.DestroyObject(s, k); err != nil {
		return err
	}
	return v.ck.DestroyObject(s, master)
}
