//go:build pkcs11

package pkcs11

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
	"github.com/meterseal/meterseal/internal/role"
)

// otherJob is what TestWorksInAnotherProcess does, where it is one.
const otherJob = "METERSEAL_TEST_JOB"

// job is some rows, and where the heap is to be written.
type job struct {
	Dir, Dump string
	CCC, Row  vault.KeyRow
}

// TestLaw1TheHeapOfTheVaultsProcessHoldsNoKey has another process work with keys that this one knows, and looks for them in
// the dump of its heap, together with what must be found there.
func TestLaw1TheHeapOfTheVaultsProcessHoldsNoKey(t *testing.T) {
	b := newBench(t)
	k, err := key.NewUnicast([]byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6"))
	must(t, err)
	j := job{Dir: b.h.dir, Dump: filepath.Join(t.TempDir(), "heap"), CCC: b.ccc}
	j.Row = vaulttest.Adopt(t, b.v, role.KeyRef{Meter: aMeter, Role: role.CCIS, Version: 1}, k)
	text, err := json.Marshal(j)
	must(t, err)
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWorksInAnotherProcess$", "-test.v")
	c.Env = append(os.Environ(), otherDir+"="+b.h.dir, otherJob+"="+string(text))
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "worked in another process") {
		t.Fatalf("another process: %v\n%s", err, out)
	}
	dump, err := os.ReadFile(j.Dump)
	must(t, err)
	if !bytes.Contains(dump, j.Row.Sealed) || !bytes.Contains(dump, []byte("tsh dlms text")) {
		t.Fatalf("a dump of %d bytes has not what it must have", len(dump))
	}
	for name, secret := range map[string][]byte{"CCC": key.Reveal(b.master), "CC_IS": key.Reveal(k)} {
		for _, form := range [][]byte{
			secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret))), []byte(base64.StdEncoding.EncodeToString(secret)),
		} {
			if bytes.Contains(dump, form) {
				t.Errorf("%s is in the heap", name)
			}
		}
	}
}

// TestWorksInAnotherProcess does the job that it is told of, or one of its own.
func TestWorksInAnotherProcess(t *testing.T) {
	text := os.Getenv(otherJob)
	if text == "" {
		b := newBench(t)
		own, err := json.Marshal(job{Dir: b.h.dir, Dump: filepath.Join(t.TempDir(), "heap"), CCC: b.ccc, Row: b.row})
		must(t, err)
		text = string(own)
	}
	var j job
	must(t, json.Unmarshal([]byte(text), &j))
	h := &hsm{dir: j.Dir}
	v, err := h.again(t, h.options())
	must(t, err)
	blob, err := v.WrapRow(j.CCC, j.Row)
	must(t, err)
	a, err := v.RowAEAD(j.Row)
	must(t, err)
	sealed := a.Seal(nil, make([]byte, nonceSize), []byte("tsh dlms text"), nil)
	plain, err := a.Open(nil, make([]byte, nonceSize), sealed, nil)
	must(t, err)
	f, err := os.OpenFile(j.Dump, os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	debug.WriteHeapDump(f.Fd())
	must(t, f.Close())
	t.Logf("worked in another process: %d, %d", len(blob), len(plain))
	if string(plain) != "tsh dlms text" || len(j.Row.Sealed) == 0 {
		t.Error("it understands itself no more")
	}
}
