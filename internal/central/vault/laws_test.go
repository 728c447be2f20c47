package vault_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// TestLaw1NothingThatIsHandedOutOpensCCC tries every operation on CCC.
func TestLaw1NothingThatIsHandedOutOpensCCC(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{m.Title}))
	ccc := []role.KeyRef{first(m, role.CCC)}

	g, err := w.vault.Generate(t.Context(), by, []vault.Target{{Meter: m.Title, Role: role.CCC}})
	w.ok(err)
	wrapped, err := w.vault.Wrap(t.Context(), by, ccc)
	w.ok(err)
	sealed, err := w.vault.SealTo(t.Context(), by, dc, ccc)
	w.ok(err)
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", ccc)
	w.ok(err)
	for name, err := range map[string]error{"generate": g[0].Err, "wrap": wrapped[0].Err, "seal": sealed[0].Err, "open": opened[0].Err} {
		if !errors.Is(err, vault.ErrRole) {
			t.Errorf("%s: want ErrRole, got %v", name, err)
		}
	}
	if wrapped[0].Blob != nil || sealed[0].Key.Blob != nil || opened[0].Use != nil {
		t.Error("a refusal came with a result")
	}
}

// TestLaw2NoKeyIsInAnyFileOrText puts meters in, does everything once, and searches what it left behind.
func TestLaw2NoKeyIsInAnyFileOrText(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(2)
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{meters[0].Title, meters[1].Title}))
	k := w.generated(meters[0].Title, role.CCLAN)
	wrapped, err := w.vault.Wrap(t.Context(), by, []role.KeyRef{k})
	w.ok(err)
	sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{k, first(meters[1], role.CCLAN)})
	w.ok(err)
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(meters[1], role.CCIS)})
	w.ok(err)
	history, err := w.vault.History(t.Context(), meters[0].Title)
	w.ok(err)
	marshalled, err := json.Marshal([]any{wrapped, sealed, history})
	w.ok(err)

	texts := map[string]string{
		"verbs": fmt.Sprintf("%v %+v %#v %v %+v %v %+v %s %v", wrapped, sealed, opened[0].Use, opened, opened[0].Use,
			w.vault, *opened[0].Use, w.vault, *opened[0].Use.LongTerm()),
		"json": string(marshalled),
	}
	for _, dir := range []string{w.data, filepath.Dir(w.journal)} {
		files, err := os.ReadDir(dir)
		w.ok(err)
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			w.ok(err)
			texts[f.Name()] = string(b)
		}
	}
	if len(texts["meterseal.db-wal"])+len(texts["meterseal.db"]) < 10_000 || len(texts["key.journal"]) < 1000 {
		t.Fatal("the files to search are not there")
	}
	for _, m := range meters {
		for _, rk := range m.Keys() {
			b := key.Reveal(rk.Key)
			for name, text := range texts {
				for form, secret := range map[string]string{
					"raw": string(b), "hex": hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)),
					"base64": base64.StdEncoding.EncodeToString(b)[:20], "decimal": strings.Trim(fmt.Sprint(b), "[]"),
				} {
					if strings.Contains(text, secret) {
						t.Errorf("%s of %s is in %s as %s", rk.Role, m.Title, name, form)
					}
				}
			}
		}
	}
}

// TestLaw4NoCounterIsHandedOutTwice draws from several goroutines and ends the process in the middle, again and
// again: with a handle still out, after a restart, and after another restart without any use.
func TestLaw4NoCounterIsHandedOutTwice(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	seen := map[dlms.InvocationCounter]bool{}
	for round := range 4 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 3 {
			opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(m, role.CCIS)})
			w.ok(err)
			w.ok(opened[0].Err)
			wg.Go(func() {
				for range 90 + round { // more than one block each
					ic, err := opened[0].Use.LongTerm().Send.Next()
					mu.Lock()
					if err != nil || ic == 0 || seen[ic] {
						t.Errorf("round %d: counter %d came twice, or %v", round, ic, err)
					}
					seen[ic] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		w.restart()
	}
	if want := 3 * (90 + 91 + 92 + 93); len(seen) != want {
		t.Fatalf("want %d counters, got %d", want, len(seen))
	}
}

func TestLaw4AHandleOfAClosedVaultReservesNothing(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(m, role.CCIS)})
	w.ok(err)
	send := opened[0].Use.LongTerm().Send
	highest, err := send.Next()
	w.ok(err)
	w.ok(w.vault.Close())
	for { // what was reserved may still be used; then it ends
		ic, err := send.Next()
		if err != nil {
			break
		}
		highest = ic
	}
	w.restart()
	opened, err = w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(m, role.CCIS)})
	w.ok(err)
	if ic, err := opened[0].Use.LongTerm().Send.Next(); err != nil || ic <= highest {
		t.Fatalf("want more than %d, got %d, %v", highest, ic, err)
	}
}

// TestLaw4ARestoredStoreGoesOnWhereTheJournalEnds takes the database back to an earlier day, and keeps the journal.
func TestLaw4ARestoredStoreGoesOnWhereTheJournalEnds(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	w.stop()
	backup := map[string][]byte{}
	files, err := os.ReadDir(w.data)
	w.ok(err)
	for _, f := range files {
		backup[f.Name()], err = os.ReadFile(filepath.Join(w.data, f.Name()))
		w.ok(err)
	}
	w.start()

	late := made(t, 1, shipment.ProfileHardened, 100)
	if r := w.ship("b2", late); !r.Clean() {
		t.Fatal(r)
	}
	w.enrolled(enrol.Concentrator, dc)
	k := w.generated(m.Title, role.CCIS)
	w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}))
	var highest dlms.InvocationCounter
	for range 2 {
		opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{k})
		w.ok(err)
		for range 50 {
			highest, err = opened[0].Use.LongTerm().Send.Next()
			w.ok(err)
		}
	}
	w.stop()
	w.ok(os.RemoveAll(w.data))
	w.ok(os.Mkdir(w.data, 0o700))
	for name, b := range backup {
		w.ok(os.WriteFile(filepath.Join(w.data, name), b, 0o600))
	}
	w.start()

	if w.state(k) != vault.Sent {
		t.Fatalf("want the version that was sent, got %s", w.state(k))
	}
	opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{k})
	w.ok(err)
	w.ok(opened[0].Err)
	if ic, err := opened[0].Use.LongTerm().Send.Next(); err != nil || ic <= highest {
		t.Fatalf("want more than %d, got %d, %v", highest, ic, err)
	}
	if r := w.ship("b2", late); r.Unchanged != 1 {
		t.Fatalf("the meter that was imported after the backup is gone: %v", r)
	}
	if rows, err := w.log.List(t.Context(), audit.Filter{Action: vault.ActionReplayed}); err != nil || len(rows) != 1 {
		t.Fatalf("want one record of it, got %d, %v", len(rows), err)
	}
}

func TestLaw4AStoreWithoutItsJournalIsRefused(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	older, err := os.ReadFile(w.journal)
	w.ok(err)
	w.generated(m.Title, role.CCLAN)
	w.stop()
	newest, err := os.ReadFile(w.journal)
	w.ok(err)
	w.ok(os.Remove(w.journal))
	if err := w.tryStart(); !errors.Is(err, vault.ErrNoJournal) {
		t.Errorf("no journal: want ErrNoJournal, got %v", err)
	}
	w.ok(os.WriteFile(w.journal, older, 0o600))
	if err := w.tryStart(); !errors.Is(err, vault.ErrJournalBehind) {
		t.Errorf("an older journal: want ErrJournalBehind, got %v", err)
	}
	other := newWorld(t)
	foreign, err := os.ReadFile(other.journal)
	w.ok(err)
	w.ok(os.WriteFile(w.journal, foreign, 0o600))
	if err := w.tryStart(); !errors.Is(err, vault.ErrJournalForeign) {
		t.Errorf("another vault's journal: want ErrJournalForeign, got %v", err)
	}
	spoiled := []byte(strings.Replace(string(newest), `"pending"`, `"active"`, 1) + "\n")
	w.ok(os.WriteFile(w.journal, append(spoiled, newest...), 0o600))
	if err := w.tryStart(); !errors.Is(err, vault.ErrJournal) {
		t.Errorf("a spoiled journal: want ErrJournal, got %v", err)
	}
	w.ok(os.WriteFile(w.journal, newest, 0o600))
	w.start()
}

func TestReceiveFloorOutlivesTheProcess(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	ref := first(m, role.CCIS)
	open := func() security.ReceiveFloor {
		opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{ref})
		w.ok(err)
		w.ok(opened[0].Err)
		return opened[0].Use.LongTerm().Floor
	}
	w.ok(open().Commit(m.Title, 41))
	if err := open().Check(m.Title, 41); !errors.Is(err, security.ErrReplay) {
		t.Fatalf("a second handle: want ErrReplay, got %v", err)
	}
	w.restart()
	if err := open().Check(m.Title, 41); !errors.Is(err, security.ErrReplay) {
		t.Fatalf("after a restart: want ErrReplay, got %v", err)
	}
	w.ok(open().Check(m.Title, 42))
}

// TestARowCopiedOntoAnotherKeyDoesNotOpen moves sealed keys about in the database.
func TestARowCopiedOntoAnotherKeyDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(2)
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{meters[0].Title}))
	lan, is := first(meters[0], role.CCLAN), first(meters[0], role.CCIS)
	for name, query := range map[string]string{
		"another meter's row": `UPDATE keys SET (sealed, mac, check_value) = (SELECT sealed, mac, check_value FROM keys
			WHERE meter = ?2 AND role = 2) WHERE meter = ?1 AND role = 2`,
		"CC_LOCALE as CC_LAN": `UPDATE keys SET (sealed, mac, check_value) = (SELECT sealed, mac, check_value FROM keys
			WHERE meter = ?1 AND role = 3) WHERE meter = ?1 AND role = 2 AND ?2 <> ''`,
		"another's blob alone": `UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE meter = ?2 AND role = 2)
			WHERE meter = ?1 AND role = 2`,
		"another suite":       `UPDATE keys SET suite = 1 WHERE meter = ?1 AND role = 2 AND ?2 <> ''`,
		"another term":        `UPDATE keys SET term = 2 WHERE meter = ?1 AND role = 2 AND ?2 <> ''`,
		"another check value": `UPDATE keys SET check_value = x'000000' WHERE meter = ?1 AND role = 2 AND ?2 <> ''`,
		"no mac":              `UPDATE keys SET mac = x'' WHERE meter = ?1 AND role = 2 AND ?2 <> ''`,
	} {
		t.Run(name, func(t *testing.T) {
			undo := w.tamper(query, meters[0].Title, meters[1].Title)
			defer undo()
			opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{lan, is})
			w.ok(err)
			if !errors.Is(opened[0].Err, vault.ErrRow) || opened[0].Use != nil {
				t.Errorf("open: want ErrRow, got %v", opened[0].Err)
			}
			if opened[1].Err != nil {
				t.Errorf("the other key of the batch: %v", opened[1].Err)
			}
			sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{lan})
			w.ok(err)
			if !errors.Is(sealed[0].Err, vault.ErrRow) || sealed[0].Key.Blob != nil {
				t.Errorf("seal: want ErrRow, got %v", sealed[0].Err)
			}
		})
	}
}

// tamper changes the database behind the program's back and returns how to take it back.
func (w *world) tamper(query string, args ...dlms.SystemTitle) (undo func()) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.data, "meterseal.db")+"?_pragma=busy_timeout(5000)")
	w.ok(err)
	_, err = db.Exec(`CREATE TEMP TABLE before AS SELECT * FROM keys`)
	w.ok(err)
	db.SetMaxOpenConns(1)
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a[:]
	}
	res, err := db.Exec(query, values...)
	w.ok(err)
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		w.t.Fatalf("the test changed %d rows, %v", n, err)
	}
	return func() {
		_, err := db.Exec(`UPDATE keys SET (suite, term, sealed, mac, check_value) = (SELECT suite, term, sealed, mac,
			check_value FROM before b WHERE b.meter = keys.meter AND b.role = keys.role AND b.version = keys.version)`)
		w.ok(err)
		w.ok(db.Close())
	}
}

// TestLaw7SealToGivesADeviceWhatItIsEntitledToAndNothingElse tries every role of every kind of meter on every device.
func TestLaw7SealToGivesADeviceWhatItIsEntitledToAndNothingElse(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(3)
	published := made(t, 1, shipment.ProfileLinky, 9)
	if r := w.ship("b2", published); !r.Clean() {
		t.Fatal(r)
	}
	hardened := meters[2]
	meters = append(meters[:2], published[0], hardened)
	id := w.enrolled(enrol.Concentrator, dc)
	w.enrolled(enrol.Concentrator, dc2)
	term := w.enrolled(enrol.Terminal, tsp)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{meters[0].Title}))
	w.ok(w.fleet.Assign(t.Context(), by, dc2, []dlms.SystemTitle{meters[1].Title}))
	g, err := w.fleet.Grant(t.Context(), by, fleet.Grant{
		Terminal: tsp, Meters: []dlms.SystemTitle{meters[2].Title, hardened.Title}, NotBefore: w.now, NotAfter: w.now.Add(time.Hour),
	})
	w.ok(err)

	may := map[string]bool{
		fmt.Sprint(dc, first(meters[0], role.CCLAN)):     true,
		fmt.Sprint(dc2, first(meters[1], role.CCLAN)):    true,
		fmt.Sprint(tsp, first(meters[2], role.CCLOCALE)): true,
	}
	given := 0
	for _, device := range []dlms.SystemTitle{dc, dc2, tsp} {
		for _, m := range meters {
			for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
				ref := first(m, r)
				sealed, err := w.vault.SealTo(t.Context(), by, device, []role.KeyRef{ref})
				w.ok(err)
				if got := sealed[0].Err == nil; got != may[fmt.Sprint(device, ref)] {
					t.Errorf("%s to %s: given %v, %v", ref, device, got, sealed[0].Err)
				}
				if sealed[0].Err == nil {
					given++
				} else if sealed[0].Key.Blob != nil {
					t.Errorf("%s to %s: a refusal came with a key", ref, device)
				}
			}
		}
	}
	if given != 3 {
		t.Fatalf("want 3 keys given, got %d", given)
	}
	sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{first(meters[0], role.CCLAN)})
	w.ok(err)
	if k, err := id.Open(sealed[0].Key); err != nil || !k.Equal(meters[0].LAN) {
		t.Fatalf("the concentrator cannot open its key: %v", err)
	}
	if _, err := term.Open(sealed[0].Key); err == nil {
		t.Fatal("another device opened it")
	}

	w.ok(w.fleet.Revoke(t.Context(), by, dc, "stolen"))
	if _, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{first(meters[0], role.CCLAN)}); !errors.Is(err, vault.ErrNotEntitled) {
		t.Errorf("a revoked concentrator: want ErrNotEntitled, got %v", err)
	}
	w.ok(w.fleet.End(t.Context(), by, g))
	sealed, err = w.vault.SealTo(t.Context(), by, tsp, []role.KeyRef{first(meters[2], role.CCLOCALE)})
	w.ok(err)
	if !errors.Is(sealed[0].Err, vault.ErrNotEntitled) {
		t.Errorf("an ended grant: want ErrNotEntitled, got %v", sealed[0].Err)
	}
	if _, err := w.vault.SealTo(t.Context(), by, node, nil); !errors.Is(err, vault.ErrTitle) {
		t.Errorf("a node: want ErrTitle, got %v", err)
	}
}

// TestLaw8EveryUseIsOnRecordBeforeItTakesEffect makes the record fail.
func TestLaw8EveryUseIsOnRecordBeforeItTakesEffect(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	k := w.generated(m.Title, role.CCLAN)
	wrapped, err := w.vault.Wrap(t.Context(), "person:ada", []role.KeyRef{k, {Meter: m.Title, Role: role.CCLAN, Version: 9}})
	w.ok(err)
	if wrapped[0].Err != nil || !errors.Is(wrapped[1].Err, vault.ErrUnknownKey) {
		t.Fatalf("got %+v", wrapped)
	}
	rows, err := w.log.List(t.Context(), audit.Filter{Meter: m.Title, Action: vault.ActionWrapped})
	w.ok(err)
	var phases []string
	for _, r := range rows {
		var e audit.Entry
		w.ok(json.Unmarshal(r.Body, &e))
		phases = append(phases, fmt.Sprintf("%s v%d %s", e.Phase, e.Subject.Version, strings.SplitN(e.Outcome, ":", 2)[0]))
		if e.Actor != "person:ada" || e.Op == "" || (e.Subject.Version == k.Version && e.Subject.CheckValue != wrapped[0].CheckValue.String()) {
			t.Errorf("entry %+v", e)
		}
	}
	if got, want := strings.Join(phases, ", "), "intent v2 , result v9 refused, result v2 ok"; got != want {
		t.Fatalf("want %q, got %q", want, got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := w.vault.Wrap(ctx, by, []role.KeyRef{k}); err == nil || out != nil {
		t.Fatalf("a key was wrapped without a record: %v", out)
	}
	err = w.store.Update(t.Context(), func(ctx context.Context) error {
		_, err := w.vault.Wrap(ctx, by, []role.KeyRef{k})
		return err
	})
	if err == nil {
		t.Fatal("a key was wrapped inside a commit that was not done yet")
	}
}
