package vault_test

import (
	"crypto/aes"
	"crypto/rand"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
	"github.com/meterseal/meterseal/internal/role"
)

// benchMeters is how many meters the benchmarks go round, so that no row is warm.
const benchMeters = 1024

// BenchmarkVaultWrap is Hold.WrapRow in software, what one key_transfer asks of a vault: the MACs of two rows checked, CCC and
// the key unwrapped and held against their fingerprints, the key wrapped under CCC.
func BenchmarkVaultWrap(b *testing.B) {
	r, err := vault.Init(b.TempDir(), vault.InitOptions{Rand: rand.Reader})
	if err != nil {
		b.Fatal(err)
	}
	masters, rows := make([]vault.KeyRow, benchMeters), make([]vault.KeyRow, benchMeters)
	k, err := key.GenerateMaster(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for i := range rows {
		meter := dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, byte(i >> 8), byte(i)}
		masters[i] = vaulttest.Adopt(b, r, role.KeyRef{Meter: meter, Role: role.CCC, Version: 1}, k)
		if rows[i], err = r.NewRow(rand.Reader, role.KeyRef{Meter: meter, Role: role.CCLAN, Version: 1}, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := r.WrapRow(masters[i%benchMeters], rows[i%benchMeters]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkVaultWrapFloor is the same AES operations bare, on keys in byte slices: the key schedules of the root's two keys
// (made once for each use, as keys are kept as bytes), two AES-CMACs over the framed rows, two unwraps, two fingerprints and
// one wrap.
func BenchmarkVaultWrapFloor(b *testing.B) {
	wrapKey, macKey, master, lan := drawn(b), drawn(b), drawn(b), drawn(b)
	blobs := make([][2][]byte, benchMeters)
	texts := make([][2][]byte, benchMeters)
	root, err := aes.NewCipher(wrapKey)
	if err != nil {
		b.Fatal(err)
	}
	for i := range blobs {
		for j, k := range [][]byte{master, lan} {
			if blobs[i][j], err = key.WrapBlob(root, k); err != nil {
				b.Fatal(err)
			}
			row := vault.KeyRow{Ref: role.KeyRef{Version: uint32(i)}, Sealed: blobs[i][j]}
			texts[i][j] = key.Framed(row.Bound("00112233445566778899aabbccddeeff")...)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		floorWrap(b, wrapKey, macKey, blobs[i%benchMeters], texts[i%benchMeters])
		i++
	}
}

func floorWrap(b *testing.B, wrapKey, macKey []byte, blobs, texts [2][]byte) {
	var keys [2][]byte
	for j := range keys {
		mac, err := aes.NewCipher(macKey)
		if err != nil {
			b.Fatal(err)
		}
		key.CMAC(mac, texts[j])
		root, err := aes.NewCipher(wrapKey)
		if err != nil {
			b.Fatal(err)
		}
		if keys[j], err = key.UnwrapBlob(root, blobs[j]); err != nil {
			b.Fatal(err)
		}
		own, err := aes.NewCipher(keys[j])
		if err != nil {
			b.Fatal(err)
		}
		key.CMAC(own, []byte(key.FingerprintText))
	}
	ccc, err := aes.NewCipher(keys[0])
	if err != nil {
		b.Fatal(err)
	}
	if _, err := key.WrapBlob(ccc, keys[1]); err != nil {
		b.Fatal(err)
	}
}

func drawn(b *testing.B) []byte {
	b.Helper()
	out := make([]byte, key.Size)
	if _, err := rand.Read(out); err != nil {
		b.Fatal(err)
	}
	return out
}
