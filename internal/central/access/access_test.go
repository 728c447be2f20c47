package access_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
)

// house is an authority with a gate, on a store of its own, whose clock the test turns.
type house struct {
	t    *testing.T
	db   *store.Store
	dir  string
	now  time.Time
	gate *access.Gate
	log  *audit.Log
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	h.must(access.InitAuthority(h.dir, access.AuthorityOptions{Now: h.now, Rand: rand.Reader}))
	db, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	h.must(err)
	t.Cleanup(func() { _ = db.Close() })
	h.db = db
	h.open(nil)
	return h
}

func (h *house) clock() time.Time { return h.now }

// open opens the gate anew, as after a restart or on another node.
func (h *house) open(quotas map[access.Class]access.Quota) {
	h.log = audit.New(h.db, audit.Options{Now: h.clock})
	h.gate = access.NewGate(access.GateConfig{Store: h.db, Audit: h.log, Now: h.clock, Rand: rand.Reader, Quotas: quotas})
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// person lets somebody in.
func (h *house) person(name string, roles ...access.Role) access.Caller {
	h.t.Helper()
	c, err := h.gate.Identify(h.t.Context(), h.issue(name, access.DefaultLife, roles...))
	h.must(err)
	return c
}

func (h *house) issue(name string, life time.Duration, roles ...access.Role) *x509.Certificate {
	h.t.Helper()
	key, err := access.NewKey(rand.Reader)
	h.must(err)
	ca, err := access.OpenAuthority(h.dir, nil)
	h.must(err)
	issued, err := h.gate.People().Add(h.t.Context(), "person:owner", ca, access.Request{Name: name, Roles: roles, Public: key.Public(), Life: life})
	h.must(err)
	block, _ := pem.Decode([]byte(issued.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	h.must(err)
	return cert
}

// does has somebody do something, and returns what came of it.
func (h *house) does(c access.Caller, op access.Op, params string) error {
	_, err := h.gate.Enter(h.t.Context(), access.Call{Caller: c, Op: op, Params: []byte(params)})
	return err
}

// pending expects that a second person is wanted, and returns the approval.
func (h *house) pending(err error) access.Approval {
	h.t.Helper()
	var p *access.PendingError
	if !errors.As(err, &p) {
		h.t.Fatalf("want a second person, got %v", err)
	}
	return p.Approval
}

func (h *house) recorded(action audit.Action) int {
	h.t.Helper()
	rows, err := h.log.List(h.t.Context(), audit.Filter{Action: action})
	h.must(err)
	return len(rows)
}

func TestEveryOperationHasARowInTheTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Op" {
				named = append(named, strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
			}
			return true
		})
	}
	if len(named) < 40 {
		t.Fatalf("only %d operations found", len(named))
	}
	for _, op := range named {
		r, ok := access.RuleOf(access.Op(op))
		if !ok || r.Does == "" || len(r.Roles) == 0 {
			t.Errorf("%s has no row in the table of roles, or an empty one", op)
		}
	}
	if len(access.Ops()) != len(named) {
		t.Errorf("%d rows for %d operations", len(access.Ops()), len(named))
	}
}

func TestACertificateCountsWhileTheStoreKnowsIt(t *testing.T) {
	h := newHouse(t)
	cert := h.issue("alice", time.Hour, access.Operator)
	identify := func(c *x509.Certificate) error { _, err := h.gate.Identify(t.Context(), c); return err }
	h.must(identify(cert))

	h.now = h.now.Add(time.Hour)
	if err := identify(cert); !errors.Is(err, access.ErrCertificate) || !strings.Contains(err.Error(), "it ended at 2026-11-23T10:00:00Z") {
		t.Errorf("after its end: %v", err)
	}
	h.now = h.now.Add(-time.Minute)
	other := h.issue("alice", time.Hour, access.Auditor)
	n, err := h.gate.People().Revoke(t.Context(), "person:owner", "alice", access.Fingerprint(cert), "stolen")
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if err := identify(cert); !errors.Is(err, access.ErrCertificate) || !strings.Contains(err.Error(), "revoked at") {
		t.Errorf("revoked: %v", err)
	}
	h.must(identify(other))
	if _, err := h.gate.People().Revoke(t.Context(), "person:owner", "carol", "", "stolen"); !errors.Is(err, access.ErrUnknownPerson) {
		t.Errorf("nobody: %v", err)
	}
	if identify(nil) == nil {
		t.Error("nobody was let in")
	}
	// Another central system's: its certificate is as good, but not known here.
	if err := identify(newHouse(t).issue("alice", time.Hour, access.Operator)); !errors.Is(err, access.ErrCertificate) || !strings.Contains(err.Error(), "did not issue it") {
		t.Errorf("foreign: %v", err)
	}
	if h.recorded(access.ActionPersonRevoked) != 1 || h.recorded(access.ActionPersonAdded) != 2 {
		t.Error("it is not on record")
	}
}

func TestTheStoreGivesNobodyARole(t *testing.T) {
	h := newHouse(t)
	cert := h.issue("alice", time.Hour, access.Auditor)
	h.must(h.db.Update(t.Context(), func(ctx context.Context) error { // whoever can write the store
		c, err := h.db.Certificate(ctx, access.Fingerprint(cert))
		if err != nil {
			return err
		}
		other := *c
		other.Fingerprint, other.Roles = "00", access.Roles()
		return h.db.AddCertificate(ctx, other)
	}))
	c, err := h.gate.Identify(t.Context(), cert)
	h.must(err)
	if !slices.Equal(c.Roles, []access.Role{access.Auditor}) {
		t.Errorf("roles %v", c.Roles)
	}
}

func TestNamesThatLookAlikeAreRefused(t *testing.T) {
	for _, name := range []string{"", "Alice", "alice ", "аlice", "-x", strings.Repeat("a", 65), "a/b", "..", "a.pem", "a\x00"} {
		if access.CheckName(name) == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
	for _, name := range []string{"alice", "a.b-c_9", "9"} {
		if err := access.CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestTheAuthoritysKeyIsSealedWithThePassphrase(t *testing.T) {
	dir := t.TempDir()
	o := access.AuthorityOptions{Passphrase: []byte("correct"), ScryptWork: 4, Now: time.Now(), Rand: rand.Reader}
	if err := access.InitAuthority(dir, o); err != nil {
		t.Fatal(err)
	}
	if _, err := access.OpenAuthority(dir, []byte("correct")); err != nil {
		t.Error(err)
	}
	for _, pass := range []string{"", "wrong"} {
		if _, err := access.OpenAuthority(dir, []byte(pass)); !errors.Is(err, access.ErrAuthority) {
			t.Errorf("passphrase %q: %v", pass, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
	a, err := access.OpenAuthority(dir, []byte("correct"))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
		if got := fmt.Sprintf(verb, a); !strings.HasPrefix(got, "authority ") {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

func TestTheAuthoritysPassphraseIsChangedOnce(t *testing.T) {
	old, next := []byte("correct"), []byte("horse")
	for _, first := range [][]byte{old, nil} { // sealed, and in clear
		dir := t.TempDir()
		err := access.InitAuthority(dir, access.AuthorityOptions{Passphrase: first, ScryptWork: 4, Now: time.Now(), Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		before, err := access.OpenAuthority(dir, first)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil {
			if _, err := access.ChangePassphrase(dir, []byte("wrong"), next, 4); !errors.Is(err, access.ErrAuthority) {
				t.Errorf("the wrong one: want ErrAuthority, got %v", err)
			}
		}
		if _, err := access.ChangePassphrase(dir, first, nil, 4); !errors.Is(err, access.ErrAuthority) {
			t.Errorf("an empty one: want ErrAuthority, got %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".people-ca.key.123"), []byte("left by a crash"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []bool{true, false} {
			changed, err := access.ChangePassphrase(dir, first, next, 4)
			if err != nil || changed != want {
				t.Errorf("want it changed: %t, got %t, %v", want, changed, err)
			}
		}
		after, err := access.OpenAuthority(dir, next)
		if err != nil || after.String() != before.String() {
			t.Errorf("want %s, got %s, %v", before, after, err)
		}
		for _, pass := range [][]byte{old, nil} {
			if _, err := access.OpenAuthority(dir, pass); !errors.Is(err, access.ErrAuthority) {
				t.Errorf("passphrase %q still opens it: %v", pass, err)
			}
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) != 3 {
			t.Errorf("want three files, got %v, %v", files, err)
		}
		if info, err := os.Stat(filepath.Join(dir, "people-ca.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestWhatTakesTwoPeopleTakesTwoPeople(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.person("alice", access.Operator), h.person("bob", access.Custodian)
	auditor := h.person("carol", access.Auditor)
	again := h.person("alice", access.Operator, access.Custodian) // the same person, another certificate

	a := h.pending(h.does(alice, access.OpCampaignAbort, `{"id":3}`))
	if b := h.pending(h.does(alice, access.OpCampaignAbort, `{"id":3}`)); b.ID != a.ID {
		t.Error("asking again makes a second approval")
	}
	for _, c := range []access.Caller{alice, again} {
		if _, err := h.gate.Give(t.Context(), c, a.ID, ""); !errors.Is(err, access.ErrDenied) || !strings.Contains(err.Error(), "it takes a second person") {
			t.Errorf("%s approves for herself: %v", c.Name, err)
		}
	}
	if _, err := h.gate.Give(t.Context(), auditor, a.ID, ""); !errors.Is(err, access.ErrDenied) || !strings.Contains(err.Error(), "operator or key-custodian") {
		t.Errorf("an auditor approves: %v", err)
	}
	h.pending(h.does(again, access.OpCampaignAbort, `{"id":3}`))

	_, err := h.gate.Give(t.Context(), bob, a.ID, "ticket 1")
	h.must(err)
	if _, err := h.gate.Give(t.Context(), bob, a.ID, "ticket 1"); !errors.Is(err, access.ErrApproval) {
		t.Errorf("approved twice: %v", err)
	}
	other := h.pending(h.does(alice, access.OpCampaignAbort, `{"id":4}`)) // other parameters
	if other.ID == a.ID {
		t.Error("one approval for two operations")
	}
	h.pending(h.does(alice, access.OpEmergencyRekey, `{"id":3}`)) // another operation
	dave := h.person("dave", access.Operator)
	h.pending(h.does(dave, access.OpCampaignAbort, `{"id":3}`)) // somebody else's

	ctx, err := h.gate.Enter(t.Context(), access.Call{Caller: alice, Op: access.OpCampaignAbort, Params: []byte(`{"id":3}`)})
	h.must(err)
	if got := access.ActorOr(ctx, "system:x"); got != "person:alice" {
		t.Errorf("on record as %s", got)
	}
	h.pending(h.does(alice, access.OpCampaignAbort, `{"id":3}`)) // used once
	for action, want := range map[audit.Action]int{access.ActionAsked: 5, access.ActionGiven: 1, access.ActionUsed: 1} {
		if got := h.recorded(action); got != want {
			t.Errorf("%s: %d on record, want %d", action, got, want)
		}
	}
}

func TestAnApprovalEnds(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.person("alice", access.Operator), h.person("bob", access.Operator)
	ask := func() access.Approval { return h.pending(h.does(alice, access.OpCampaignAbort, `{}`)) }

	a := ask()
	h.now = h.now.Add(access.ApprovalTerm)
	if _, err := h.gate.Give(t.Context(), bob, a.ID, ""); !errors.Is(err, access.ErrApproval) || !strings.Contains(err.Error(), "expired at 2026-11-23T10:00:00Z") {
		t.Errorf("given too late: %v", err)
	}

	b := ask()
	if a.ID == b.ID {
		t.Error("an expired approval is asked for again")
	}
	_, err := h.gate.Give(t.Context(), bob, b.ID, "")
	h.must(err)
	h.now = h.now.Add(access.ApprovalTerm - time.Second)
	ok := h.now
	h.now = h.now.Add(time.Second)
	ask() // used too late
	h.now = ok
	h.must(h.does(alice, access.OpCampaignAbort, `{}`))

	h.now = h.now.Add(-3 * time.Hour) // the clock was set back: what comes from the future does not count
	c := ask()
	h.now = h.now.Add(24 * time.Hour)
	d := ask()
	_, err = h.gate.Give(t.Context(), bob, d.ID, "")
	h.must(err)
	if _, err := h.gate.Withdraw(t.Context(), h.person("eve", access.Operator), d.ID, ""); !errors.Is(err, access.ErrDenied) {
		t.Errorf("withdrawn by somebody else: %v", err)
	}
	_, err = h.gate.Withdraw(t.Context(), bob, d.ID, "thought better of it")
	h.must(err)
	if e := ask(); e.ID == d.ID || e.ID == c.ID {
		t.Error("an approval that was withdrawn counts")
	}
	if _, err := h.gate.Give(t.Context(), bob, "nothing", ""); !errors.Is(err, access.ErrApproval) || !strings.Contains(err.Error(), "approve ls") {
		t.Errorf("no such approval: %v", err)
	}
}

func TestTheApprovalOfSomebodyWhoWasRevokedDoesNotCount(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.person("alice", access.Operator), h.person("bob", access.Operator)
	a := h.pending(h.does(alice, access.OpCampaignAbort, `{}`))
	_, err := h.gate.Give(t.Context(), bob, a.ID, "")
	h.must(err)
	_, err = h.gate.People().Revoke(t.Context(), "person:owner", "bob", "", "left")
	h.must(err)
	if err := h.does(alice, access.OpCampaignAbort, `{}`); !errors.Is(err, access.ErrApproval) || !strings.Contains(err.Error(), "approve withdraw "+a.ID) {
		t.Errorf("want an error that says what to do, got %v", err)
	}
	_, err = h.gate.Withdraw(t.Context(), alice, a.ID, "")
	h.must(err)
	h.pending(h.does(alice, access.OpCampaignAbort, `{}`))
}

// spend counts n orders of a class, each with parameters of its own.
func (h *house) spend(c access.Caller, class access.Class, n int, params string) error {
	ctx := access.WithCall(h.t.Context(), access.Call{Caller: c, Op: access.OpBreaker, Params: []byte(params)})
	return h.gate.Spend(ctx, class, n)
}

var small = map[access.Class]access.Quota{access.Breakers: {Limit: 5, Window: time.Hour, Refusals: 3, Burst: 4, BurstWindow: time.Minute}}

func TestWhatIsAboveTheQuotaTakesASecondPerson(t *testing.T) {
	h := newHouse(t)
	h.open(small)
	alice, bob := h.person("alice", access.Operator), h.person("bob", access.Operator)
	for i := range 5 {
		h.now = h.now.Add(time.Minute)
		h.must(h.spend([]access.Caller{alice, bob}[i%2], access.Breakers, 1, fmt.Sprint(i)))
		h.open(small) // the count is not this process's
	}
	a := h.pending(h.spend(alice, access.Breakers, 1, "6th"))
	if !strings.Contains(a.Why, "5 of 5 used within 1h0m0s") {
		t.Errorf("why: %q", a.Why)
	}
	h.pending(h.spend(alice, access.Breakers, 1, "6th"))  // the same order: no further refusal
	h.must(h.spend(alice, access.BulkKeys, 1, "keys"))    // another class
	h.must(h.gate.Spend(t.Context(), access.Breakers, 9)) // the system's own
	_, err := h.gate.Give(t.Context(), bob, a.ID, "")
	h.must(err)
	h.must(h.spend(alice, access.Breakers, 1, "6th"))
	h.pending(h.spend(alice, access.Breakers, 1, "6th"))
	h.now = h.now.Add(time.Hour) // the window slides
	h.must(h.spend(alice, access.Breakers, 1, "7th"))
	s, err := h.gate.Quotas(t.Context())
	h.must(err)
	for _, q := range s {
		if q.Class == access.Breakers && (q.Used != 1 || q.Stop != nil) {
			t.Errorf("it stands at %+v", q)
		}
	}
}

func TestAnAnomalyStopsItsClassUntilTwoPeopleSayOtherwise(t *testing.T) {
	for name, anomaly := range map[string]func(h *house, c access.Caller) error{
		"a burst": func(h *house, c access.Caller) (err error) {
			for i := range 5 {
				h.now = h.now.Add(time.Second)
				err = h.spend(c, access.Breakers, 1, fmt.Sprint(i))
			}
			return err
		},
		"many orders above the quota": func(h *house, c access.Caller) (err error) {
			for i := range 8 {
				h.now = h.now.Add(time.Minute)
				err = h.spend(c, access.Breakers, 1, fmt.Sprint(i))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.open(small)
			alice, bob := h.person("alice", access.Operator), h.person("bob", access.Custodian)
			if err := anomaly(h, alice); !errors.Is(err, access.ErrStopped) || !strings.Contains(err.Error(), "meterseal quota lift breaker") {
				t.Fatalf("want a stop, got %v", err)
			}
			h.open(small)
			h.now = h.now.Add(24 * time.Hour) // it does not pass by itself
			if err := h.spend(bob, access.Breakers, 1, "x"); !errors.Is(err, access.ErrStopped) {
				t.Errorf("another person: %v", err)
			}
			h.must(h.spend(alice, access.BulkKeys, 1, "keys"))
			a := h.pending(h.does(alice, access.OpLiftStop, `{"name":"breaker"}`))
			_, err := h.gate.Give(t.Context(), bob, a.ID, "looked at it")
			h.must(err)
			h.must(h.does(alice, access.OpLiftStop, `{"name":"breaker"}`))
			h.must(h.gate.Lift(t.Context(), access.Breakers))
			h.must(h.spend(alice, access.Breakers, 1, "x"))
			if h.gate.Lift(t.Context(), access.Breakers) == nil {
				t.Error("lifted twice")
			}
			if h.recorded(access.ActionStopped) != 1 || h.recorded(access.ActionLifted) != 1 {
				t.Error("it is not on record")
			}
		})
	}
}

func TestAnOrderThatTwoPeopleStandForCountsAgainstNoBurst(t *testing.T) {
	h := newHouse(t)
	h.open(small)
	alice, bob := h.person("alice", access.Operator), h.person("bob", access.Operator)
	call := access.Call{Caller: alice, Op: access.OpEmergencyRekey, Params: []byte(`{}`)}
	_, err := h.gate.Enter(t.Context(), call)
	a := h.pending(err)
	_, err = h.gate.Give(t.Context(), bob, a.ID, "")
	h.must(err)
	ctx, err := h.gate.Enter(t.Context(), call)
	h.must(err)
	h.must(h.gate.Spend(ctx, access.Breakers, 100)) // approved as a whole, it wants no second approval
	h.pending(h.spend(alice, access.Breakers, 1, "x"))
}

func TestTheIdentityOfAPersonIsKeptAndFound(t *testing.T) {
	h := newHouse(t)
	data := t.TempDir()
	add := func(name string) *access.Identity {
		key, err := access.NewKey(rand.Reader)
		h.must(err)
		line, err := access.PublicText(key.Public())
		h.must(err)
		pub, err := access.ParsePublic(line + "\n")
		h.must(err)
		ca, err := access.OpenAuthority(h.dir, nil)
		h.must(err)
		issued, err := h.gate.People().Add(t.Context(), "person:owner", ca, access.Request{Name: name, Roles: []access.Role{access.Operator}, Public: pub})
		h.must(err)
		id, err := issued.Identity(key)
		h.must(err)
		h.must(id.Write(access.PersonFile(data, name)))
		other, err := access.NewKey(rand.Reader)
		h.must(err)
		if _, err := issued.Identity(other); !errors.Is(err, access.ErrIdentity) {
			t.Errorf("a certificate with another key: %v", err)
		}
		return id
	}
	if _, err := access.FindIdentity(data, "", "alice"); !errors.Is(err, access.ErrIdentity) {
		t.Errorf("nobody there: %v", err)
	}
	alice := add("alice")
	find := func(as, own, want string) {
		t.Helper()
		id, err := access.FindIdentity(data, as, own)
		if err != nil || id.Name != want {
			t.Errorf("find %q for %q: %v, %v", as, own, id, err)
		}
	}
	find("", "root", "alice") // the only one
	add("root")
	find("", "root", "root")
	find("alice", "root", "alice")
	find(access.PersonFile(data, "alice"), "root", "alice")
	if _, err := access.FindIdentity(data, "", "carol"); !errors.Is(err, access.ErrIdentity) || !strings.Contains(err.Error(), "alice, root") {
		t.Errorf("one of several: %v", err)
	}
	if got := fmt.Sprintf("%v %+v %#v", alice, alice, alice); strings.Count(got, "alice (operator), until 2027-11-23") != 3 {
		t.Errorf("it prints as %q", got)
	}
	h.must(os.Chmod(access.PersonFile(data, "alice"), 0o644))
	if _, err := access.LoadIdentity(access.PersonFile(data, "alice")); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("others can read it: %v", err)
	}
}

// identity lets somebody in who keeps the key.
func (h *house) identity(ca, name string, life time.Duration, roles ...access.Role) *access.Identity {
	h.t.Helper()
	key, err := access.NewKey(rand.Reader)
	h.must(err)
	a, err := access.OpenAuthority(ca, nil)
	h.must(err)
	issued, err := h.gate.People().Add(h.t.Context(), "person:owner", a, access.Request{Name: name, Roles: roles, Public: key.Public(), Life: life})
	h.must(err)
	id, err := issued.Identity(key)
	h.must(err)
	return id
}

func TestAClockThatWasAheadAtTheCeremonyLocksNobodyOut(t *testing.T) {
	h := newHouse(t)
	h.now = h.now.Add(-400 * 24 * time.Hour)
	var said []access.Statement
	for _, name := range []string{"alice", "bob"} {
		s, err := h.identity(h.dir, name, access.DefaultLife, access.Operator).State(rand.Reader, h.now, access.OpRestore, "monday", "disk burnt")
		h.must(err)
		said = append(said, s)
	}
	panel, err := access.NewPanel(h.dir, h.db, h.now)
	h.must(err)
	_, err = panel.Two(t.Context(), access.OpRestore, "monday", said)
	h.must(err)
}

func TestASignedStatementCountsForWhatItSaysAndNoLonger(t *testing.T) {
	h := newHouse(t)
	type what struct{ Backup string }
	alice, bob := h.identity(h.dir, "alice", access.DefaultLife, access.Operator), h.identity(h.dir, "bob", access.DefaultLife, access.Custodian)
	auditor := h.identity(h.dir, "carol", access.DefaultLife, access.Auditor)
	brief := h.identity(h.dir, "dave", time.Minute, access.Operator)
	foreign := newHouse(t)
	forged := foreign.identity(foreign.dir, "bob", access.DefaultLife, access.Custodian)

	state := func(id *access.Identity) access.Statement {
		t.Helper()
		s, err := id.State(rand.Reader, h.now, access.OpRestore, what{"monday"}, "disk burnt")
		h.must(err)
		return s
	}
	two := func(statements ...access.Statement) error {
		panel, err := access.NewPanel(h.dir, h.db, h.now)
		h.must(err)
		_, err = panel.Two(t.Context(), access.OpRestore, what{"monday"}, statements)
		return err
	}
	refused := func(why, want string, statements ...access.Statement) {
		t.Helper()
		if err := two(statements...); !errors.Is(err, access.ErrTwo) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", why, want, err)
		}
	}
	a, b := state(alice), state(bob)
	h.must(two(a, b))
	refused("nobody", "0 of 2 count")
	refused("one person", "1 of 2 count", a)
	refused("the same person twice", "1 of 2 count", a, state(alice))
	refused("the same person with another certificate", "1 of 2 count", a, state(h.identity(h.dir, "alice", access.DefaultLife, access.Custodian)))
	refused("another authority's", "did not issue the certificate", a, state(forged))
	if _, err := auditor.State(rand.Reader, h.now, access.OpRestore, what{"monday"}, "x"); !errors.Is(err, access.ErrDenied) {
		t.Errorf("an auditor: %v", err)
	}
	if _, err := alice.State(rand.Reader, h.now, access.OpRestore, what{"monday"}, ""); !errors.Is(err, access.ErrStatement) {
		t.Errorf("without a reason: %v", err)
	}
	other, err := bob.State(rand.Reader, h.now, access.OpRestore, what{"tuesday"}, "x")
	h.must(err)
	refused("of another backup", "for other parameters", a, other)
	other, err = bob.State(rand.Reader, h.now, access.OpOpenSealedVault, what{"monday"}, "x")
	h.must(err)
	refused("for another operation", "for another operation", a, other)
	for name, change := range map[string]func(s *access.Statement){
		"reason":      func(s *access.Statement) { s.Reason = "another" },
		"time":        func(s *access.Statement) { s.At, s.Until = s.At.Add(time.Second), s.Until.Add(time.Second) },
		"signature":   func(s *access.Statement) { s.Signature[9] ^= 1 },
		"none":        func(s *access.Statement) { s.Signature = nil },
		"certificate": func(s *access.Statement) { s.Certificate = a.Certificate },
		"two of them": func(s *access.Statement) { s.Certificate += a.Certificate },
		"no one":      func(s *access.Statement) { s.Certificate = "" },
		"name":        func(s *access.Statement) { s.By = "eve" },
	} {
		changed := b
		changed.Signature = slices.Clone(b.Signature)
		change(&changed)
		refused("changed: "+name, "1 of 2 count", a, changed)
	}
	d := state(brief)
	h.must(two(a, d))
	h.now = h.now.Add(2 * time.Minute)
	refused("by a certificate that has ended", "or it has ended", a, d)
	h.now = h.now.Add(time.Hour)
	refused("too old", "it counted from", a, b)
	h.now = h.now.Add(-2 * time.Hour)
	refused("from the future", "it counted from", a, b)
	h.now = h.now.Add(time.Hour)
	_, err = h.gate.People().Revoke(t.Context(), "person:owner", "bob", "", "stolen")
	h.must(err)
	refused("by a certificate that was revoked", "revoked at", a, b)
}

func TestTheDocsHaveTheTable(t *testing.T) {
	b, err := os.ReadFile("../../../docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range access.Ops() {
		rule, _ := access.RuleOf(op)
		names := make([]string, len(rule.Roles))
		for i, r := range rule.Roles {
			names[i] = string(r)
		}
		two := map[[2]bool]string{{true, false}: "two", {true, true}: "two, at rest"}[[2]bool{rule.Dual, rule.AtRest}]
		row := fmt.Sprintf("| %s | %s | %s |\n", rule.Does, strings.Join(names, ", "), two)
		if !strings.Contains(string(b), row) {
			t.Errorf("docs/roles.md lacks: %s", row)
		}
	}
}
