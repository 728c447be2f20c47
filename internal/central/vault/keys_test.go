package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

func TestGenerateGivesTheSamePendingVersionAgain(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	k := w.generated(m.Title, role.CCLAN)
	if k.Version != 2 || w.state(k) != vault.Pending {
		t.Fatalf("got %s, %s", k, w.state(k))
	}
	w.restart()
	if again := w.generated(m.Title, role.CCLAN); again != k {
		t.Fatalf("want %s again, got %s", k, again)
	}
	w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}))
	if next := w.generated(m.Title, role.CCLAN); next.Version != 3 {
		t.Fatalf("want version 3, got %s", next)
	}
}

// alike are two keys with one check value.
func alike(t *testing.T) (a, b []byte) {
	t.Helper()
	seen := map[key.CheckValue][]byte{}
	for range 1 << 20 { // some thousands will do
		k := make([]byte, key.Size)
		_, _ = rand.Read(k)
		u, err := key.NewUnicast(k)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[u.CheckValue()]; ok {
			return other, k
		}
		seen[u.CheckValue()] = k
	}
	t.Fatal("no two keys with one check value")
	return nil, nil
}

// The check value is the proof that CC_LOCALE was changed, and has three bytes: two versions must not share one.
func TestLaw5NoTwoVersionsOfAKeyHaveOneCheckValue(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	a, b := alike(t)
	third := bytes.Repeat([]byte{0x5A, 0xC3}, key.Size/2)
	w.rand = io.MultiReader(bytes.NewReader(slices.Concat(a, b, third)), bytes.NewReader(bytes.Repeat(a, 100)))
	w.restart()
	for _, want := range [][]byte{a, third} { // b is drawn in between
		k := w.generated(m.Title, role.CCLOCALE)
		u, err := key.NewUnicast(want)
		w.ok(err)
		info, err := w.vault.History(t.Context(), m.Title)
		w.ok(err)
		i := slices.IndexFunc(info, func(i vault.KeyInfo) bool { return i.Ref == k })
		if i < 0 || info[i].CheckValue != u.CheckValue() {
			t.Fatalf("%s: want check value %s, got %+v", k, u.CheckValue(), info)
		}
		w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}))
	}
	out, err := w.vault.Generate(t.Context(), by, []vault.Target{{Meter: m.Title, Role: role.CCLOCALE}})
	if w.ok(err); out[0].Err == nil {
		t.Error("a source that gives one key for ever: want an error")
	}
}

func TestWrapGivesTheMeterItsKeyUnderItsOwnCCC(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(2)
	id := w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{meters[0].Title}))
	k := w.generated(meters[0].Title, role.CCLAN)
	for range 2 {
		wrapped, err := w.vault.Wrap(t.Context(), by, []role.KeyRef{k, first(meters[1], role.CCLAN)})
		w.ok(err)
		if !errors.Is(wrapped[1].Err, vault.ErrState) || wrapped[1].Blob != nil {
			t.Fatalf("an active version: want ErrState, got %v", wrapped[1].Err)
		}
		got, err := meters[0].CCC.UnwrapUnicast(wrapped[0].Blob)
		w.ok(err)
		sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{k})
		w.ok(err)
		if lent, err := id.Open(sealed[0].Key); err != nil || !lent.Equal(got) || got.CheckValue() != wrapped[0].CheckValue {
			t.Fatalf("meter and concentrator did not get one key: %v", err)
		}
		if _, err := meters[1].CCC.UnwrapUnicast(wrapped[0].Blob); err == nil {
			t.Fatal("another meter's CCC opens it")
		}
		w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}))
	}
	w.ok(w.vault.MarkAbandoned(t.Context(), by, []role.KeyRef{k}, "test"))
	wrapped, err := w.vault.Wrap(t.Context(), by, []role.KeyRef{k})
	w.ok(err)
	if !errors.Is(wrapped[0].Err, vault.ErrState) {
		t.Fatalf("an abandoned version: want ErrState, got %v", wrapped[0].Err)
	}
	if _, err := w.vault.Wrap(t.Context(), by, []role.KeyRef{k, k}); err == nil {
		t.Fatal("one key twice in a batch was accepted")
	}
}

func TestEveryHandoutHasCountersOfItsOwn(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{m.Title}))
	last := dlms.InvocationCounter(0)
	for range 3 {
		sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{first(m, role.CCLAN)})
		w.ok(err)
		k := sealed[0].Key
		if k.FirstCounter != last+1 || k.LastCounter < k.FirstCounter+1000 || sealed[0].State != vault.Active {
			t.Fatalf("after %d: got %d to %d, %s", last, k.FirstCounter, k.LastCounter, sealed[0].State)
		}
		last = k.LastCounter
		w.restart()
	}
}

// TestStatesOfAVersion goes through the life of keys: each step is a mark, whether it is allowed, and what it leaves.
func TestStatesOfAVersion(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	v1 := first(m, role.CCIS)
	v2 := w.generated(m.Title, role.CCIS)
	sent := func(k role.KeyRef) error { return w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}) }
	active := func(k role.KeyRef) error {
		return w.vault.MarkActive(t.Context(), by, []role.KeyRef{k}, "association")
	}
	abandoned := func(k role.KeyRef) error {
		return w.vault.MarkAbandoned(t.Context(), by, []role.KeyRef{k}, "n in force")
	}
	is := func(want ...vault.State) {
		t.Helper()
		all, err := w.vault.History(t.Context(), m.Title)
		w.ok(err)
		var got []vault.State
		for _, k := range all {
			if k.Ref.Role == role.CCIS {
				got = append(got, k.State)
			}
		}
		for i := range want {
			if len(got) != len(want) || got[i] != want[i] {
				t.Fatalf("want %v, got %v", want, got)
			}
		}
	}
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, vault.ErrState) {
			t.Fatalf("want ErrState, got %v", err)
		}
	}

	refused(active(v2)) // never sent
	w.ok(sent(v2))
	w.ok(sent(v2)) // again, after a crash
	v3 := w.generated(m.Title, role.CCIS)
	is(vault.Active, vault.Sent, vault.Pending)
	w.ok(sent(v3))
	w.ok(active(v3))
	is(vault.Superseded, vault.Abandoned, vault.Active)
	w.ok(active(v3)) // again
	refused(sent(v1))
	refused(abandoned(v3))
	w.ok(active(v2)) // a search found it in force after all
	is(vault.Superseded, vault.Active, vault.Superseded)
	w.restart()
	is(vault.Superseded, vault.Active, vault.Superseded)

	v4 := w.generated(m.Title, role.CCIS)
	w.ok(abandoned(v4))
	candidates, err := w.vault.Candidates(t.Context(), []vault.Target{{Meter: m.Title, Role: role.CCIS}})
	w.ok(err)
	if got := candidates[0]; len(got) != 4 || got[0].Ref != v4 || got[3].Ref != v1 {
		t.Fatalf("candidates: got %v", got)
	}
	now, err := w.vault.Active(t.Context(), []vault.Target{{Meter: m.Title, Role: role.CCIS}})
	w.ok(err)
	if now[0].Ref != v2 || !now[0].EndedAt.IsZero() || now[0].ActiveAt.IsZero() {
		t.Fatalf("active: got %+v", now[0])
	}
}

func TestMarksArePartOfTheCallersCommitAndTheJournalMayBeAhead(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	k := w.generated(m.Title, role.CCLAN)
	boom := errors.New("boom")
	fail := func(context.Context, []any) error { return boom }
	// A step that fails has written nothing, to the journal neither. One that fails at its commit has: the journal says
	// sent, and whoever reads it must not believe that the key stayed at home. The next step takes it over.
	for _, c := range []struct {
		fails func(ctx context.Context) error
		want  vault.State
	}{
		{func(context.Context) error { return boom }, vault.Pending},
		{func(ctx context.Context) error { return w.store.BeforeCommit(ctx, "the commit", 1, fail) }, vault.Sent},
	} {
		err := w.store.Update(t.Context(), func(ctx context.Context) error {
			if err := w.vault.MarkSent(ctx, by, []role.KeyRef{k}); err != nil {
				return err
			}
			return c.fails(ctx)
		})
		if !errors.Is(err, boom) || w.state(k) != vault.Pending {
			t.Fatalf("want nothing changed, got %s, %v", w.state(k), err)
		}
		w.generated(m.Title, role.CCIS)
		if w.state(k) != c.want {
			t.Fatalf("after the next step: want %s, got %s", c.want, w.state(k))
		}
	}
}

func TestOpenForUsesOnlyWhatTheCentralSystemMayUse(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	pending := w.generated(m.Title, role.CCIS)
	unknown := role.KeyRef{Meter: m.Title, Role: role.CCIS, Version: 9}
	refs := []role.KeyRef{first(m, role.CCIS), first(m, role.CCLAN), first(m, role.CCLOCALE), first(m, role.CCC), pending, unknown}
	want := []error{nil, nil, vault.ErrRole, vault.ErrRole, vault.ErrState, vault.ErrUnknownKey}
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", refs)
	w.ok(err)
	for i, o := range opened {
		if !errors.Is(o.Err, want[i]) || (o.Use == nil) != (want[i] != nil) {
			t.Errorf("%s: want %v, got %v", refs[i], want[i], o.Err)
		}
	}
	if _, err := w.vault.OpenFor(t.Context(), by, dc, "test", refs[:1]); !errors.Is(err, vault.ErrTitle) {
		t.Errorf("a title that is no node's: want ErrTitle, got %v", err)
	}
	w.ok(w.vault.Finish(t.Context(), by, []vault.Outcome{{Use: opened[0].Use, Result: "opened"}}))
}

// TestUseOpensWhatTheMeterSeals is one APDU each way between the handle and the meter's own key.
func TestUseOpensWhatTheMeterSeals(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(m, role.CCIS)})
	w.ok(err)
	ours := opened[0].Use.LongTerm()
	w.ok(ours.Check())
	aead, err := m.IS.AEAD()
	w.ok(err)
	theirs, err := security.NewCipher(aead, keyless())
	w.ok(err)
	ic, err := ours.Send.Next()
	w.ok(err)
	ctl := security.Authenticated | security.Encrypted
	content, err := ours.Cipher.Seal(nil, ctl, node, ic, []byte("hello"))
	w.ok(err)
	if got, err := theirs.Open(nil, ctl, node, ic, content); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	if ic != 1 {
		t.Fatalf("want the first counter to be 1, got %d", ic)
	}
	raiser, ok := ours.Send.(interface {
		RaiseTo(dlms.InvocationCounter) error
	})
	if !ok {
		t.Fatal("the counter cannot be raised")
	}
	w.ok(raiser.RaiseTo(5000))
	if ic, err = ours.Send.Next(); err != nil || ic != 5000 {
		t.Fatalf("want 5000, got %d, %v", ic, err)
	}
	if err := raiser.RaiseTo(dlms.MaxInvocationCounter); !errors.Is(err, security.ErrRaise) {
		t.Fatalf("want ErrRaise, got %v", err)
	}
}

func TestSealGrantIsForALiveGrantAndItsTerminal(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(3)
	published := made(t, 1, shipment.ProfileLinky, 9)
	if r := w.ship("b2", published); !r.Clean() {
		t.Fatal(r)
	}
	meters[2] = published[0]
	term := w.enrolled(enrol.Terminal, tsp)
	g, err := w.fleet.Grant(t.Context(), by, fleet.Grant{
		Terminal: tsp, Meters: []dlms.SystemTitle{meters[0].Title, meters[2].Title}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
	})
	w.ok(err)
	doc, err := w.vault.SealGrant(t.Context(), by, g.ID)
	w.ok(err)
	w.ok(doc.Verify(tsp, term.MAC()))
	w.ok(doc.Check(w.now))
	for i, m := range meters {
		s, err := doc.For(m.Title)
		if i == 1 {
			if !errors.Is(err, enrol.ErrNotGranted) {
				t.Errorf("a meter outside: want ErrNotGranted, got %v", err)
			}
			continue
		}
		w.ok(err)
		if i == 2 { // as published
			if k, err := term.Open(s); err != nil || !k.Equal(m.Locale) || !s.LastDay.IsZero() {
				t.Errorf("the terminal cannot open CC_LOCALE of %s: %v", m.Title, err)
			}
			continue
		}
		if _, err := term.Open(s); err == nil || s.LastDay.String() != "2026-11-03" {
			t.Errorf("a terminal got CC_LOCALE of a hardened meter, until %s", s.LastDay)
		}
		want, err := m.Locale.Derive(tsp, s.LastDay)
		w.ok(err)
		if k, err := term.OpenDerived(s); err != nil || !k.Equal(want) {
			t.Errorf("the terminal cannot open what is derived for it: %v", err)
		}
	}

	w.now = w.now.Add(2 * time.Hour)
	if _, err := w.vault.SealGrant(t.Context(), by, g.ID); !errors.Is(err, vault.ErrGrant) {
		t.Errorf("past its time: want ErrGrant, got %v", err)
	}
	ended, err := w.fleet.GrantsEnded(t.Context(), by)
	if err != nil || len(ended) != 1 || len(ended[0].Meters) != 2 {
		t.Fatalf("want one ended grant with 2 meters, got %v, %v", ended, err)
	}
	w.ok(w.fleet.Close(t.Context(), by, ended[0]))
	if ended, err = w.fleet.GrantsEnded(t.Context(), by); err != nil || len(ended) != 0 {
		t.Fatalf("want none left, got %v, %v", ended, err)
	}
	if _, err := w.vault.SealGrant(t.Context(), by, "nothing"); !errors.Is(err, vault.ErrGrant) {
		t.Errorf("no grant: want ErrGrant, got %v", err)
	}
}
