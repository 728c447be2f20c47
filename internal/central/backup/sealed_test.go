package backup_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// unseal has two people open the vault without its journal, and starts it under its new title.
func (w *world) unseal() (*system, vault.Space) {
	w.t.Helper()
	log := audit.New(w.db, audit.Options{Now: w.clock})
	for _, who := range []audit.Actor{"person:alice", "person:bob"} {
		w.must(vault.Approve(w.t.Context(), w.db, log, vault.Approval{By: who, Reason: "the journal's disk burnt", At: w.now}))
	}
	space, err := vault.OpenSealed(w.t.Context(), w.db, log, w.now, rand.Reader, anybody)
	w.must(err)
	s, err := w.tryNode(space.Title, true)
	w.must(err)
	return s, space
}

// anybody's word counts: who is behind it is looked at elsewhere.
func anybody(vault.Seal, vault.Approval) error { return nil }

// lostJournal is a system restored without its journal, with a key that was changed since the backup.
func lostJournal(t *testing.T) (w *world, m dlms.SystemTitle, lost vault.KeyInfo, rows [][]byte, dc *enrol.Identity) {
	t.Helper()
	w = newWorld(t)
	a := w.node(node1)
	m = w.ship(a, "b1", 1, 1)[0]
	dc = w.enrol(a, enrol.Concentrator, dc1)
	w.must(a.fleet.Assign(t.Context(), by, dc1, []dlms.SystemTitle{m}))
	w.change(a, m, role.CCLOCALE, vault.Pending)
	from := w.backup("backup")
	for _, r := range role.Associations() {
		k := w.change(a, m, r, vault.Active)
		e, err := a.vault.Escrow(t.Context(), by, []dlms.SystemTitle{dc1}, []role.KeyRef{k.Ref})
		w.must(err)
		rows = append(rows, e[0].Row)
		if r == role.CCIS {
			lost = k
		}
	}
	w.must(a.vault.Close())
	w.now = w.now.Add(time.Hour)
	if r := w.restore(from); !r.Sealed || len(r.Lost) != 1 || r.Lost[0].Node != node1.String() {
		t.Fatalf("got %+v", r)
	}
	return w, m, lost, rows, dc
}

func TestAVaultWithoutItsJournalIsSealedUntilTwoPeopleOpenIt(t *testing.T) {
	w, _, _, _, _ := lostJournal(t)
	log := audit.New(w.db, audit.Options{Now: w.clock})
	for _, title := range []dlms.SystemTitle{node1, node2} {
		if _, err := w.tryNode(title, true); !errors.Is(err, vault.ErrSealed) {
			t.Errorf("%s: want ErrSealed, got %v", title, err)
		}
	}
	open := func() error {
		_, err := vault.OpenSealed(t.Context(), w.db, log, w.now, rand.Reader, anybody)
		return err
	}
	approve := func(who audit.Actor) {
		w.must(vault.Approve(t.Context(), w.db, log, vault.Approval{By: who, Reason: "x", At: w.now}))
	}
	refused := func(why string) {
		t.Helper()
		if err := open(); !errors.Is(err, vault.ErrApprovals) {
			t.Errorf("%s: want ErrApprovals, got %v", why, err)
		}
	}
	refused("nobody")
	approve("person:alice")
	refused("one person")
	approve("person:alice")
	refused("the same person twice")
	w.now = w.now.Add(2 * vault.ApprovalTerm)
	approve("person:bob")
	refused("one of them too old")
	w.now = w.now.Add(-time.Minute)
	approve("person:carol")
	refused("one of them from the future")
	w.now = w.now.Add(time.Minute)
	for _, a := range []vault.Approval{{By: "", Reason: "x"}, {By: "person:x"}} {
		if err := vault.Approve(t.Context(), w.db, log, a); err == nil {
			t.Errorf("%+v was taken", a)
		}
	}
	w.must(open())
	if err := open(); err == nil || errors.Is(err, vault.ErrApprovals) {
		t.Errorf("opened twice: %v", err)
	}
	entries, err := log.List(t.Context(), audit.Filter{Action: vault.ActionUnsealed})
	if err != nil || len(entries) != 2 {
		t.Errorf("the opening is on record %d times, %v", len(entries), err)
	}
}

// TestLaw4AfterASealedStartNothingIsUsedTwice holds the new nonce space against the old one: titles, versions, hand-outs.
func TestLaw4AfterASealedStartNothingIsUsedTwice(t *testing.T) {
	w, m, lost, _, _ := lostJournal(t)
	s, space := w.unseal()
	k := []role.KeyRef{{Meter: m, Role: role.CCIS, Version: 1}}
	if _, err := s.vault.OpenFor(t.Context(), by, node1, "test", k); !errors.Is(err, vault.ErrRetired) {
		t.Errorf("the old title: want ErrRetired, got %v", err)
	}
	o, err := s.vault.OpenFor(t.Context(), by, space.Title, "test", k)
	w.must(err)
	if ic, err := o[0].Use.LongTerm().Send.Next(); err != nil || ic != 1 {
		t.Errorf("the new title begins at %d, %v", ic, err)
	}
	old := []role.KeyRef{{Meter: m, Role: role.CCLAN, Version: 1}}
	sealed, err := s.vault.SealTo(t.Context(), by, dc1, old)
	if err != nil || !errors.Is(sealed[0].Err, vault.ErrCountersLost) {
		t.Errorf("a version from before: want ErrCountersLost, got %v, %v", sealed, err)
	}
	w.must(s.vault.SetRecalled(t.Context(), dc1, vault.Recalled{}))
	sealed, err = s.vault.SealTo(t.Context(), by, dc1, old)
	if err != nil || sealed[0].Err != nil || sealed[0].Key.FirstCounter <= 1<<23 {
		t.Errorf("to a device that has told what it keeps: want counters above all that were lost, got %+v, %v", sealed, err)
	}
	next := w.change(s, m, role.CCIS, vault.Sent)
	if next.Ref.Version != space.FirstVersion || next.Ref.Version <= lost.Ref.Version {
		t.Errorf("want v%d, got %s", space.FirstVersion, next.Ref)
	}
	lan := w.change(s, m, role.CCLAN, vault.Pending)
	if sealed, err = s.vault.SealTo(t.Context(), by, dc1, []role.KeyRef{lan.Ref}); err != nil || sealed[0].Err != nil {
		t.Errorf("a new version: %v, %v", sealed, err)
	}
	for _, k := range s.history(w, m) {
		if k.State == vault.Pending && k.Ref != lan.Ref {
			t.Errorf("%s is still pending: it may have been sent in the time that was lost", k.Ref)
		}
	}
	// Restored a second time from the same backup, it meets neither the titles nor the versions of the first.
	w.must(s.vault.Close())
	w.now = w.now.Add(time.Minute)
	w.restore(w.path("backup"))
	_, again := w.unseal()
	if again.Title == space.Title || again.FirstVersion == space.FirstVersion {
		t.Errorf("the first %+v, the second %+v", space, again)
	}
}

// TestLaw5TheEscrowBringsBackEverythingThatLeft gives a vault that lost its journal what its concentrator kept.
func TestLaw5TheEscrowBringsBackEverythingThatLeft(t *testing.T) {
	w, m, lost, rows, _ := lostJournal(t)
	s, space := w.unseal()
	if c, err := s.vault.Candidates(t.Context(), []vault.Target{{Meter: m, Role: role.CCIS}}); err != nil || len(c[0]) != 1 {
		t.Fatalf("before: %v, %v", c, err)
	}
	r, err := s.vault.Recall(t.Context(), by, dc1, rows, nil)
	w.must(err)
	// CC_LOCALE of the escrow was pending in the backup: it is given up, and a candidate.
	if r.Versions != 2 || r.Known != 1 || len(r.Refused) != 0 {
		t.Errorf("got %+v", r)
	}
	c, err := s.vault.Candidates(t.Context(), []vault.Target{{Meter: m, Role: role.CCIS}, {Meter: m, Role: role.CCLOCALE}})
	w.must(err)
	if got := c[0][0]; got.Ref != lost.Ref || got.Fingerprint != lost.Fingerprint || got.State != vault.Sent {
		t.Errorf("want %s, got %+v", lost.Ref, got)
	}
	if got := c[1][0]; got.State != vault.Abandoned || got.Ref.Version != 2 {
		t.Errorf("got %+v", got)
	}
	o, err := s.vault.OpenFor(t.Context(), by, space.Title, "search", []role.KeyRef{lost.Ref})
	w.must(err)
	w.must(o[0].Err)
	again, err := s.vault.Recall(t.Context(), by, dc1, rows, nil)
	if err != nil || again.Versions != 0 || again.Known != 3 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
	w.must(s.vault.MarkActive(t.Context(), by, []role.KeyRef{lost.Ref}, "test"))
	// What came back is in the new journal: a restore of the same backup with it has it.
	before := s.history(w, m)
	w.must(s.vault.Close())
	if r := w.restore(w.path("backup"), s.journal); !r.Sealed || len(r.Lost) != 1 {
		t.Errorf("got %+v", r)
	}
	s, _ = w.unseal()
	after := s.history(w, m)
	if len(after) != len(before) {
		t.Errorf("want %d versions, got %d", len(before), len(after))
	}
}

func TestARowThatIsNotThisVaultsOrWasMovedIsNotTakenBack(t *testing.T) {
	w, m, _, rows, _ := lostJournal(t)
	s, _ := w.unseal()
	other, _, _, foreign, _ := lostJournal(t)
	_ = other
	moved := []byte(string(rows[0]))
	copy(moved[indexOf(t, moved, m.String()):], "4D534C0000000099")
	later := []byte(string(rows[0]))
	at := indexOf(t, later, `"version":2`)
	later[at+len(`"version":`)] = '9'
	r, err := s.vault.Recall(t.Context(), by, dc1, [][]byte{
		foreign[0], moved, later, []byte("{}"), []byte("nothing"), make([]byte, 5000),
	}, nil)
	w.must(err)
	if r.Versions != 0 || r.Known != 0 || len(r.Refused) != 6 {
		t.Errorf("got %+v", r)
	}
	if _, err := s.vault.Recall(t.Context(), by, dc2, rows, nil); !errors.Is(err, vault.ErrTitle) {
		t.Errorf("an unknown device: want ErrTitle, got %v", err)
	}
}

func indexOf(t *testing.T, b []byte, text string) int {
	t.Helper()
	for i := range b {
		if len(b)-i >= len(text) && string(b[i:i+len(text)]) == text {
			return i
		}
	}
	t.Fatalf("no %q in %s", text, b)
	return 0
}

// TestACopyTellsWhatADeviceHoldsAndUpToWhichCounter takes sealed keys back as they came.
func TestACopyTellsWhatADeviceHoldsAndUpToWhichCounter(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	meters := w.ship(a, "b1", 1, 2)
	w.enrol(a, enrol.Concentrator, dc1)
	w.enrol(a, enrol.Concentrator, dc2)
	w.must(a.fleet.Assign(t.Context(), by, dc1, meters[:1]))
	w.must(a.fleet.Assign(t.Context(), by, dc2, meters[1:]))
	from := w.backup("backup")
	made := w.change(a, meters[0], role.CCLAN, vault.Active)
	sealed, err := a.vault.SealTo(t.Context(), by, dc1, []role.KeyRef{made.Ref})
	w.must(err)
	foreign, err := a.vault.SealTo(t.Context(), by, dc2, []role.KeyRef{{Meter: meters[1], Role: role.CCLAN, Version: 1}})
	w.must(err)
	w.must(a.vault.Close())
	w.restore(from)
	s, _ := w.unseal()
	forged := sealed[0].Key
	forged.Version = 3
	r, err := s.vault.Recall(t.Context(), by, dc1, nil, []enrol.SealedKey{sealed[0].Key, foreign[0].Key, forged})
	w.must(err)
	if r.Versions != 1 || r.Copies != 1 || len(r.Refused) != 2 {
		t.Errorf("got %+v", r)
	}
	got := s.history(w, meters[0])
	k := got[1]
	for _, i := range got {
		if i.Ref == made.Ref {
			k = i
		}
	}
	if k.Ref != made.Ref || k.Fingerprint != made.Fingerprint || k.State != vault.Sent {
		t.Errorf("got %+v", got)
	}
	if held, err := w.db.HandedOut(t.Context(), dc1, []role.KeyRef{made.Ref}); err != nil || !held[made.Ref] {
		t.Errorf("the device holds it: %v, %v", held, err)
	}
	counters, err := w.db.SendCounters(t.Context(), dc1, []role.KeyRef{made.Ref})
	if err != nil || counters[made.Ref].Ceiling != uint32(sealed[0].Key.LastCounter) {
		t.Errorf("got %+v, %v", counters, err)
	}
	again, err := s.vault.SealTo(t.Context(), by, dc1, []role.KeyRef{made.Ref})
	if err != nil || !errors.Is(again[0].Err, vault.ErrCountersLost) {
		t.Errorf("before it has told all: want ErrCountersLost, got %v, %v", again, err)
	}
}

func TestANodeUnderAnotherNameDoesNotDoWithoutTheJournal(t *testing.T) {
	w := newWorld(t)
	a, err := w.tryNode(node1, true)
	w.must(err)
	w.ship(a, "b1", 1, 1)
	w.must(a.vault.Close())
	if _, err := w.tryNode(node2, true); !errors.Is(err, vault.ErrNoJournal) {
		t.Errorf("want ErrNoJournal, got %v", err)
	}
	w.must(os.Rename(a.journal, w.path("journal-"+node2.String())))
	b, err := w.tryNode(node2, true)
	w.must(err)
	w.must(b.vault.Close())
	if err := w.db.View(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}
