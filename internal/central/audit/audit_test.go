package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/role"
)

var meter = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}

type world struct {
	t      *testing.T
	store  *store.Store
	log    *audit.Log
	signer *audit.Signer
	key    audit.PublicKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	signer, err := audit.NewSigner("test-log", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.ParsePublicKey(signer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, s, audit.New(s, audit.Options{Signer: signer}), signer, key}
}

func (w *world) append(n int) {
	w.t.Helper()
	entries := make([]audit.Entry, n)
	for i := range entries {
		entries[i] = audit.Entry{
			Actor: "person:<ada> & co", Action: "test.done", Phase: audit.Done,
			Subject: audit.Subject{Meter: meter}, Detail: map[string]string{"i": fmt.Sprint(i)},
		}
	}
	if err := w.log.Append(w.t.Context(), entries...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) export() []byte {
	w.t.Helper()
	var b bytes.Buffer
	if _, err := w.log.Export(w.t.Context(), &b); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) verify(export []byte, known ...tlog.Tree) (tlog.Tree, error) {
	return audit.Verify(bytes.NewReader(export), audit.VerifyOptions{Trusted: w.key, Known: known})
}

func TestVerifyAcceptsEverySizeOfLogAndGrowth(t *testing.T) {
	w := newWorld(t)
	var known []tlog.Tree
	for size := range int64(18) {
		tree, err := w.verify(w.export(), known...)
		if err != nil || tree.N != size {
			t.Fatalf("size %d: got %d, %v", size, tree.N, err)
		}
		known = append(known, tree)
		w.append(1)
	}
}

func TestVerifyHandsOutEveryEntryInOrder(t *testing.T) {
	w := newWorld(t)
	w.append(5)
	var seen []string
	_, err := audit.Verify(bytes.NewReader(w.export()), audit.VerifyOptions{Trusted: w.key, Each: func(_ int64, e audit.Entry) error {
		seen = append(seen, e.Detail["i"])
		if e.Subject.Meter != meter || e.At.IsZero() || e.Actor != "person:<ada> & co" {
			t.Errorf("got %+v", e)
		}
		return nil
	}})
	if err != nil || !slices.Equal(seen, []string{"0", "1", "2", "3", "4"}) {
		t.Fatalf("got %v, %v", seen, err)
	}
}

// TestLaw8VerifyFindsOneRecordChangedRemovedOrReordered spoils an export in every way that an insider might.
func TestLaw8VerifyFindsOneRecordChangedRemovedOrReordered(t *testing.T) {
	w := newWorld(t)
	w.append(9)
	good := strings.SplitAfter(string(w.export()), "\n")
	good = good[:len(good)-1] // after the last line end
	const third = 3           // the line of record 2
	rehash := func(line string) string {
		i, j := strings.Index(line, `"entry":`), len(line)-2
		hash := tlog.RecordHash([]byte(line[i+len(`"entry":`) : j]))
		k := strings.Index(line, `"hash":"`) + len(`"hash":"`)
		return line[:k] + hash.String() + line[k+len(hash.String()):]
	}
	if rehash(good[third]) != good[third] {
		t.Fatal("the test does not understand the export")
	}
	changed := strings.Replace(good[third], `"i":"2"`, `"i":"7"`, 1)
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"changed":            {replace(good, third, changed), "record 2 was changed"},
		"changed, rehashed":  {replace(good, third, rehash(changed)), "another content"},
		"removed":            {slices.Delete(slices.Clone(good), third, third+1), "record 3 stands where record 2 belongs"},
		"reordered":          {replace(replace(good, third, good[third+1]), third+1, good[third]), "stands where"},
		"last removed":       {slices.Delete(slices.Clone(good), len(good)-2, len(good)-1), "tampered"},
		"added":              {slices.Insert(slices.Clone(good), third, good[third]), "stands where"},
		"size in the head":   {replace(good, 0, strings.Replace(good[0], `"size":9`, `"size":8`, 1)), "tampered"},
		"checkpoint altered": {replace(good, len(good)-1, strings.Replace(good[len(good)-1], `\n9\n`, `\n8\n`, 1)), "tampered"},
		"checkpoint gone":    {good[:len(good)-1], "ends too early"},
		"more at the end":    {append(slices.Clone(good), "x\n"), "something follows"},
		"empty":              {nil, "ends too early"},
		"a long line":        {replace(good, third, strings.Repeat("x", 1<<20)+"\n"), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify([]byte(strings.Join(c.lines, "")))
			if !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("want ErrTampered with %q, got %v", c.want, err)
			}
		})
	}
}

func replace(lines []string, i int, line string) []string {
	out := slices.Clone(lines)
	out[i] = line
	return out
}

func TestVerifyTrustsNoKeyButTheReadersOwn(t *testing.T) {
	w := newWorld(t)
	w.append(1)
	other, err := audit.NewSigner("test-log", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{6}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if w.key, err = audit.ParsePublicKey(other.PublicKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.verify(w.export()); !errors.Is(err, audit.ErrTampered) {
		t.Fatalf("want ErrTampered, got %v", err)
	}
}

// TestLaw8VerifyFindsALogThatWasCutAndSignedAgain gives an insider the signing key as well.
func TestLaw8VerifyFindsALogThatWasCutAndSignedAgain(t *testing.T) {
	w := newWorld(t)
	w.append(7)
	known, err := w.verify(w.export())
	if err != nil {
		t.Fatal(err)
	}
	forged := newWorld(t)
	forged.append(3)
	if _, err := forged.verify(forged.export(), known); !errors.Is(err, audit.ErrTampered) {
		t.Fatalf("shorter: want ErrTampered, got %v", err)
	}
	forged.append(8)
	if _, err := forged.verify(forged.export(), known); !errors.Is(err, audit.ErrTampered) {
		t.Fatalf("other beginning: want ErrTampered, got %v", err)
	}
}

func TestAppendIsPartOfTheCallersCommit(t *testing.T) {
	w := newWorld(t)
	boom := errors.New("boom")
	err := w.store.Update(t.Context(), func(ctx context.Context) error {
		if err := w.log.Append(ctx, audit.Entry{Actor: "a", Action: "b", Phase: audit.Intent}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if rows, err := w.log.List(t.Context(), audit.Filter{}); err != nil || len(rows) != 0 {
		t.Fatalf("want no entry, got %v, %v", rows, err)
	}
}

func TestAppendRefusesAnEntryThatSaysTooLittleOrTooMuch(t *testing.T) {
	w := newWorld(t)
	for name, e := range map[string]audit.Entry{
		"no actor":  {Action: "b", Phase: audit.Done},
		"no action": {Actor: "a", Phase: audit.Done},
		"no phase":  {Actor: "a", Action: "b"},
		"too long":  {Actor: "a", Action: "b", Phase: audit.Done, Outcome: strings.Repeat("x", audit.MaxEntry)},
	} {
		if err := w.log.Append(t.Context(), e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestListFindsEntriesOfOneMeterNewestFirst(t *testing.T) {
	w := newWorld(t)
	w.append(3)
	if err := w.log.Append(t.Context(), audit.Entry{Actor: "a", Action: "other", Phase: audit.Done}); err != nil {
		t.Fatal(err)
	}
	rows, err := w.log.List(t.Context(), audit.Filter{Meter: meter, Newest: true, Limit: 2})
	if err != nil || len(rows) != 2 || rows[0].ID != 3 || rows[1].ID != 2 {
		t.Fatalf("got %v, %v", rows, err)
	}
	rows, err = w.log.List(t.Context(), audit.Filter{After: 2})
	if err != nil || len(rows) != 2 || rows[1].Action != "other" || !rows[1].Meter.IsZero() {
		t.Fatalf("got %v, %v", rows, err)
	}
}

func TestRunNumbersEntriesUntilItIsToldToStop(t *testing.T) {
	w := newWorld(t)
	l := audit.New(w.store, audit.Options{Signer: w.signer, Interval: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	w.append(3)
	for size := int64(0); size < 3; {
		msg, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tree, err := audit.OpenCheckpoint(msg, w.key)
		if err != nil {
			t.Fatal(err)
		}
		size = tree.N
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestExportWithoutASigningKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := audit.New(w.store, audit.Options{}).Export(t.Context(), new(bytes.Buffer)); !errors.Is(err, audit.ErrNoSigner) {
		t.Fatalf("want ErrNoSigner, got %v", err)
	}
}

// batch is n entries that say the same of different keys, and one that says something else between them.
func batch(n int, action audit.Action) []audit.Entry {
	var out []audit.Entry
	for i := range n {
		m := dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 1, byte(i)}
		e := audit.Entry{
			Actor: "system:<test>", Action: action, Phase: audit.Intent, Op: "0011", Outcome: "why",
			Subject: audit.KeySubject(role.KeyRef{Meter: m, Role: role.CCLAN, Version: 7}, "a1b2c3"), Detail: map[string]string{"from": "sent"},
		}
		e.Subject.Device = meter
		if out = append(out, e); i == 1 {
			e.Phase, e.Outcome = audit.Result, "refused"
			out = append(out, e)
		}
	}
	return out
}

func TestABatchIsOneRecordThatNamesEveryKey(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{1, 2, 128, 200} {
		at := time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)
		log := audit.New(w.store, audit.Options{Signer: w.signer, Now: func() time.Time { return at }})
		want := batch(n, audit.Action(fmt.Sprintf("batch.of-%d", n)))
		if err := log.Append(t.Context(), want...); err != nil {
			t.Fatal(err)
		}
		var got []audit.Entry
		records := map[int64]bool{}
		_, err := audit.Verify(bytes.NewReader(w.export()), audit.VerifyOptions{Trusted: w.key, Each: func(i int64, e audit.Entry) error {
			if e.Action == want[0].Action {
				got, records[i] = append(got, e), true
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortStableFunc(got, func(a, b audit.Entry) int { return bytes.Compare(a.Subject.Meter[:], b.Subject.Meter[:]) })
		for i := range want {
			want[i].At = at
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("batch of %d: %s", n, diff)
		}
		if want := (n+127)/128 + min(n-1, 1); len(records) != want {
			t.Errorf("batch of %d: want %d records, got %d", n, want, len(records))
		}
	}
}

// TestAMeterIsFoundInEveryRecordThatNamesIt asks before and after the records were numbered.
func TestAMeterIsFoundInEveryRecordThatNamesIt(t *testing.T) {
	w := newWorld(t)
	m := dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 1, 3}
	other := dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 1, 199}
	check := func(f audit.Filter, want ...audit.Action) {
		t.Helper()
		rows, err := w.log.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var got []audit.Action
		for _, r := range rows {
			var e audit.Entry
			if err := json.Unmarshal(r.Body, &e); err != nil {
				t.Fatal(err)
			}
			if r.Meter != f.Meter || e.Subject.Meter != f.Meter || len(e.Keys) > 0 || e.Subject.CheckValue == "" {
				t.Errorf("got %s of %s: %s", r.Action, r.Meter, r.Body)
			}
			got = append(got, r.Action)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: want %v, got %v", f, want, got)
		}
	}
	var numbered []audit.Action
	for round := range 4 {
		one := audit.Action(fmt.Sprintf("round.%d.batch", round))
		two := audit.Action(fmt.Sprintf("round.%d.single", round))
		if err := w.log.Append(t.Context(), append(batch(150, one), batch(4, two)[4:]...)...); err != nil {
			t.Fatal(err)
		}
		numbered = append(numbered, one, two)
		check(audit.Filter{Meter: m}, numbered...)
		check(audit.Filter{Meter: m, Action: one}, one)
		check(audit.Filter{Meter: m, Newest: true, Limit: 1}, two)
		check(audit.Filter{Meter: other})
		if round == 2 {
			continue // these two are left without a number until the next round
		}
		if _, err := w.log.Sequence(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(audit.Filter{Meter: m}, numbered...)
	}
	rows, err := w.log.List(t.Context(), audit.Filter{Meter: m})
	if err != nil {
		t.Fatal(err)
	}
	check(audit.Filter{Meter: m, After: rows[2].ID, Limit: 2}, numbered[3:5]...)
	check(audit.Filter{Meter: m, After: rows[2].ID, Newest: true}, numbered[1], numbered[0])
}

func TestAKeyInARecordIsReadAsItWasWritten(t *testing.T) {
	for _, k := range []audit.KeyName{{Meter: meter, Version: 1}, {Meter: meter, Version: 1<<32 - 1, CheckValue: "00ffAB"}} {
		b, err := json.Marshal([]audit.KeyName{k})
		var got []audit.KeyName
		if err != nil || json.Unmarshal(b, &got) != nil || len(got) != 1 || got[0] != k {
			t.Errorf("%+v: got %s, %+v, %v", k, b, got, err)
		}
	}
	for _, text := range []string{"", "4D534C0000000001", "4D534C0000000001 2 aa", "4D534C0000000001 v-1", "4D53 v1", "4D534C0000000001 v4294967296", "4D534C0000000001 v1 ", "4D534C0000000001 v1 xx", "4D534C0000000001 v1 aa bb"} {
		if err := new(audit.KeyName).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
