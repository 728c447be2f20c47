package shipment

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

func drawTitle(rt *rapid.T) dlms.SystemTitle {
	t := dlms.SystemTitle{'M', 'S', 'L'}
	copy(t[3:], rapid.SliceOfN(rapid.Byte(), 5, 5).Draw(rt, "title"))
	return t
}

// drawRow is a meter with one version of each key in force and some before it.
func drawRow(rt *rapid.T) TransferRow {
	r := TransferRow{Title: drawTitle(rt), Maker: "MSL", Batch: rapid.StringN(0, 20, 64).Draw(rt, "batch"), Profile: ProfileHardened}
	at := time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(rt, "at")).UTC()
	for _, of := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
		for n := range rapid.IntRange(1, 3).Draw(rt, "versions") {
			v := Version{Role: of, Version: uint32(n + 1), State: "active", Wrapped: rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(rt, "wrapped"), CreatedAt: at}
			copy(v.CheckValue[:], rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(rt, "kcv"))
			if n > 0 {
				v.State = rapid.SampledFrom([]string{"sent", "superseded", "abandoned"}).Draw(rt, "state")
				v.Counters = []TransferCounter{{drawTitle(rt), rapid.Uint32().Draw(rt, "ceiling"), rapid.Uint32().Draw(rt, "raised")}}
				v.Floors = []TransferFloor{{drawTitle(rt), rapid.Uint32().Draw(rt, "last")}}
			}
			r.Versions = append(r.Versions, v)
		}
	}
	return r
}

func transferOf(t rapid.TB, rows []TransferRow, k ed25519.PrivateKey, to transport.Public) ([]byte, key.Wrapping) {
	t.Helper()
	env, under, err := transport.Seal(rand.Reader, to)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := NewTransferWriter(&b, TransferHeader{Vault: "v", Signer: "s", Count: len(rows), Envelope: env})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(func(m []byte) ([]byte, error) { return ed25519.Sign(k, m), nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), under
}

func TestATransferComesBackAsItWasWritten(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	to, dir := vault(t).Public(), t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfNDistinct(rapid.Custom(drawRow), 1, 5, func(r TransferRow) dlms.SystemTitle { return r.Title }).Draw(rt, "rows")
		file, _ := transferOf(rt, rows, private, to)
		f, err := SpoolTransfer(dir, bytes.NewReader(file))
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		if _, _, err := f.Next(); !errors.Is(err, ErrSignature) {
			rt.Fatalf("a row before the signature: %v", err)
		}
		if err := f.Verify("s", func(m, sig []byte) bool { return ed25519.Verify(public, m, sig) }); err != nil {
			rt.Fatal(err)
		}
		for _, want := range rows {
			got, bad, err := f.Next()
			if bad != nil || err != nil {
				rt.Fatalf("got %v, %v", bad, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				rt.Fatal(d)
			}
		}
		if _, _, err := f.Next(); !errors.Is(err, io.EOF) {
			rt.Fatalf("want io.EOF, got %v", err)
		}
	})
}

func TestATransferRowThatIsNoRunningMeterIsRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRow(rt)
		if bad := r.check(); bad != nil {
			rt.Fatal(bad)
		}
		change := map[string]func(){
			"no version in force":  func() { r.Versions[0].State = "superseded" },
			"a version twice":      func() { r.Versions = append(r.Versions, r.Versions[0]) },
			"no versions":          func() { r.Versions = nil },
			"a pending version":    func() { r.Versions[0].State = "pending" },
			"a short key":          func() { r.Versions[0].Wrapped = r.Versions[0].Wrapped[1:] },
			"version 0":            func() { r.Versions[0].Version = 0 },
			"no title":             func() { r.Title = dlms.SystemTitle{} },
			"another profile":      func() { r.Profile = "generic" },
			"CC_IS in linky":       func() { r.Profile = ProfileLinky },
			"a maker that is none": func() { r.Maker = "../" },
		}
		name := rapid.SampledFrom([]string{
			"no version in force", "a version twice", "no versions", "a pending version", "a short key", "version 0", "no title", "another profile", "CC_IS in linky", "a maker that is none",
		}).Draw(rt, "change")
		change[name]()
		if r.check() == nil {
			rt.Fatalf("%s: accepted", name)
		}
	})
}

func FuzzParseTransferRow(f *testing.F) {
	row, err := json.Marshal(rapid.Custom(drawRow).Example(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, line []byte) {
		r, bad := parseTransferRow(line)
		if bad != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // a time whose year has five digits
		}
		if r2, bad := parseTransferRow(again); bad != nil || r2.Title != r.Title || len(r2.Versions) != len(r.Versions) {
			t.Fatalf("a row that was read does not come back: %v", bad)
		}
	})
}
