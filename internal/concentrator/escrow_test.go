package concentrator

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

func rowOf(meter byte, r role.Role, version uint32) bus.Escrowed {
	return bus.Escrowed{Meter: dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, meter}, Role: r, Version: version, Row: []byte{meter, byte(r), byte(version), byte(version >> 8)}}
}

func opened(t *testing.T, path string) *escrow {
	t.Helper()
	e, damaged, err := openEscrow(path)
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	t.Cleanup(func() { _ = e.close() })
	return e
}

func TestTheEscrowIsKeptThroughARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "escrow")
	e := opened(t, path)
	want := []bus.Escrowed{rowOf(1, role.CCLAN, 1), rowOf(1, role.CCIS, 2), rowOf(2, role.CCLOCALE, 300)}
	for range 2 { // the second time changes nothing
		if err := e.keep(want); err != nil {
			t.Fatal(err)
		}
	}
	size := e.file.Size()
	if err := e.keep(want[:1]); err != nil || e.file.Size() != size {
		t.Errorf("a row was written twice: %v", err)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	got := opened(t, path).list()
	if len(got) != 3 || got[0].Ref() != want[0].Ref() || got[1].Ref() != want[1].Ref() || !bytes.Equal(got[2].Row, want[2].Row) {
		t.Errorf("got %+v", got)
	}
}

func TestTheEscrowIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "escrow")
	e := opened(t, path)
	big := bytes.Repeat([]byte{7}, bus.MaxEscrowRow)
	for v := uint32(1); v <= 1000; v++ {
		r := rowOf(1, role.CCLAN, v)
		r.Row = big
		if err := e.keep([]bus.Escrowed{r}); err != nil {
			t.Fatal(err)
		}
	}
	got := e.list()
	if len(got) != escrowVersions || got[0].Version != 1000-escrowVersions+1 || got[len(got)-1].Version != 1000 {
		t.Errorf("want the newest %d versions, got %d, from v%d", escrowVersions, len(got), got[0].Version)
	}
	if size := e.file.Size(); size > 1<<20 {
		t.Errorf("the file has %d bytes", size)
	}
	for name, r := range map[string]bus.Escrowed{
		"too long":   {Meter: got[0].Meter, Role: role.CCLAN, Version: 1, Row: append(big, 1)},
		"empty":      {Meter: got[0].Meter, Role: role.CCLAN, Version: 1},
		"no meter":   {Role: role.CCLAN, Version: 1, Row: big},
		"no version": {Meter: got[0].Meter, Role: role.CCLAN, Row: big},
		"a CCC":      {Meter: got[0].Meter, Role: role.CCC, Version: 1, Row: big},
	} {
		var f *bus.Fault
		if err := e.keep([]bus.Escrowed{r}); !errors.As(err, &f) || f.Code != bus.FaultRefused {
			t.Errorf("%s: want a refusal, got %v", name, err)
		}
	}
	if err := e.keep(make([]bus.Escrowed, bus.MaxEscrow+1)); err == nil {
		t.Error("too many rows were taken")
	}
}

func TestADamagedEscrowIsSetAsideAndSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "escrow")
	e := opened(t, path)
	if err := errors.Join(e.keep([]bus.Escrowed{rowOf(1, role.CCLAN, 1)}), e.close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	e, damaged, err := openEscrow(path)
	if err != nil || damaged == nil || len(e.list()) != 0 {
		t.Fatalf("got %v, %v", damaged, err)
	}
	defer func() { _ = e.close() }()
	if kept, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(kept, b) {
		t.Errorf("the damaged file: %v", err)
	}
	if err := e.keep([]bus.Escrowed{rowOf(1, role.CCLAN, 2)}); err != nil {
		t.Error(err)
	}
}

func TestARecallGivesBackAllOfItInParts(t *testing.T) {
	dir := t.TempDir()
	if _, err := Init(dir, own, rand.Reader, must(vaults.Key(0)).Public()); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Data: dir, ISURL: "none", ISCA: "none"}, Deps{Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	owner := must(loadIdentity(filepath.Join(dir, IdentityFile)))
	for m := byte(1); m <= 40; m++ {
		s := enrol.SealedKey{Meter: rowOf(m, 0, 1).Meter, Role: role.CCLAN, Version: 1, Recipient: own, FirstCounter: 1, LastCounter: 100}
		s, err := enrol.Seal(s, owner.KEK(), owner.MAC(), must(key.GenerateUnicast(rand.Reader)))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ring.Take(bus.ProvisionKey{Meter: s.Meter, Version: 1, Phase: bus.PhaseActive, Sealed: &s}); err != nil {
			t.Fatal(err)
		}
	}
	for v := uint32(1); v <= 25; v++ {
		rows := make([]bus.Escrowed, 0, 40)
		for m := byte(1); m <= 40; m++ {
			rows = append(rows, rowOf(m, role.CCIS, v))
		}
		if r := c.provision(bus.Provision{Escrow: rows}); r.Fault != nil || r.Provision.Escrowed != len(rows) {
			t.Fatal(r)
		}
	}
	seen := map[role.KeyRef]bool{}
	copies, from := 0, 0
	for more := true; more; {
		r := c.recall(bus.Recall{From: from})
		if r.Fault != nil || len(r.Recall.Copies)+len(r.Recall.Escrow) == 0 {
			t.Fatalf("from %d: %+v", from, r)
		}
		for _, e := range r.Recall.Escrow {
			seen[e.Ref()] = true
		}
		copies += len(r.Recall.Copies)
		from += len(r.Recall.Copies) + len(r.Recall.Escrow)
		more = r.Recall.More
	}
	if len(seen) != 1000 || copies != 40 {
		t.Errorf("got %d rows and %d copies", len(seen), copies)
	}
}
