package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

const testVault = "00112233445566778899aabbccddeeff"

func counterRecord(ceiling uint32) []record {
	ref := role.KeyRef{Meter: dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}, Role: role.CCIS, Version: 1}
	return []record{{Counter: &CounterRow{Ref: ref, Title: dlms.SystemTitle{1}, Ceiling: ceiling}}}
}

// journalOf makes a journal with batches of ceilings 1 to n and returns its path and the position after each.
func journalOf(t *testing.T, n uint32) (path string, after []Position) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk", "key.journal")
	j, err := openJournal(path, testVault, "", true)
	if err != nil {
		t.Fatal(err)
	}
	after = append(after, j.Position())
	for i := uint32(1); i <= n; i++ {
		p, err := j.Append(counterRecord(i))
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, p)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path, after
}

func ceilings(batches [][]record) (out []uint32) {
	for _, b := range batches {
		for _, r := range b {
			out = append(out, r.Counter.Ceiling)
		}
	}
	return out
}

func TestJournalGivesBackWhatCameAfterAPosition(t *testing.T) {
	path, after := journalOf(t, 5)
	j, err := openJournal(path, testVault, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for i, p := range after {
		batches, err := j.After(p)
		if err != nil || len(batches) != 5-i {
			t.Fatalf("after %d: got %v, %v", i, ceilings(batches), err)
		}
		for k, c := range ceilings(batches) {
			if int(c) != i+k+1 {
				t.Fatalf("after %d: got %v", i, ceilings(batches))
			}
		}
	}
	all, err := j.After(Position{Vault: testVault})
	if err != nil || len(all) != 5 {
		t.Fatalf("a store that has seen none: got %v, %v", ceilings(all), err)
	}
}

func TestJournalRefusesAPositionOfAnotherHistory(t *testing.T) {
	path, after := journalOf(t, 3)
	j, err := openJournal(path, testVault, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	other := after[1]
	other.Hash = bytes.Repeat([]byte{1}, 32)
	between := after[1]
	between.Bytes++
	last := after[3]
	last.Hash = other.Hash
	ahead := after[3]
	ahead.Bytes++
	foreign := after[1]
	foreign.Vault = "another"
	for name, c := range map[string]struct {
		p    Position
		want error
	}{
		"another hash":         {other, ErrJournalForeign},
		"another hash at end":  {last, ErrJournalForeign},
		"in the midst of line": {between, ErrJournalForeign},
		"beyond the end":       {ahead, ErrJournalBehind},
		"another vault":        {foreign, ErrJournalForeign},
	} {
		if _, err := j.After(c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
	}
}

// TestJournalCutAtEveryByteKeepsTheWholeLinesAndNothingElse is the power failing at any point of an append.
func TestJournalCutAtEveryByteKeepsTheWholeLinesAndNothingElse(t *testing.T) {
	path, after := journalOf(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := after[2].Bytes; cut < after[3].Bytes; cut++ {
		for _, tail := range []string{"", "\x00\x00\x00"} {
			at := filepath.Join(t.TempDir(), "key.journal")
			if err := os.WriteFile(at, append(whole[:cut:cut], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := openJournal(at, testVault, "", false)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if got := j.Position(); got.Bytes != after[2].Bytes || !bytes.Equal(got.Hash, after[2].Hash) {
				t.Fatalf("cut at %d: want to go on at %d, got %d", cut, after[2].Bytes, got.Bytes)
			}
			p, err := j.Append(counterRecord(9))
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := openJournal(at, testVault, "", false)
			if err != nil || again.Position().Bytes != p.Bytes {
				t.Fatalf("cut at %d: it does not open again: %v", cut, err)
			}
			_ = again.Close()
			torn, _ := filepath.Glob(at + ".torn-*")
			if want := cut > after[2].Bytes || tail != ""; (len(torn) == 1) != want {
				t.Fatalf("cut at %d: set aside %v", cut, torn)
			}
		}
	}
}

func TestJournalRefusesDamageBeforeItsEnd(t *testing.T) {
	path, after := journalOf(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, text := range map[string]string{
		"a byte changed":   string(whole[:after[1].Bytes-20]) + "x" + string(whole[after[1].Bytes-19:]),
		"a line removed":   lines[0] + lines[2] + lines[3],
		"lines reordered":  lines[0] + lines[2] + lines[1] + lines[3],
		"a line twice":     lines[0] + lines[1] + lines[1] + lines[2],
		"no head":          lines[1] + lines[2],
		"empty":            "",
		"one line of 20MB": lines[0] + strings.Repeat("x", maxJournalLine+1),
	} {
		at := filepath.Join(t.TempDir(), "key.journal")
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openJournal(at, testVault, "", false); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: want ErrJournal, got %v", name, err)
		}
	}
	if _, err := openJournal(path, "another", "", false); !errors.Is(err, ErrJournalForeign) {
		t.Errorf("another vault: want ErrJournalForeign, got %v", err)
	}
}

func TestJournalRefusesEverythingAfterAFailedAppend(t *testing.T) {
	path, after := journalOf(t, 1)
	j, err := openJournal(path, testVault, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.file.Close(); err != nil { // the disk goes away
		t.Fatal(err)
	}
	for range 2 {
		if _, err := j.Append(counterRecord(2)); err == nil {
			t.Fatal("an append without a disk succeeded")
		}
	}
	again, err := openJournal(path, testVault, "", false)
	if err != nil || again.Position().Bytes != after[1].Bytes {
		t.Fatalf("got %v, %v", again.Position(), err)
	}
	_ = again.Close()
}
