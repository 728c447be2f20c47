package meter

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// seeded is a repeatable source of randomness.
func seeded(seed uint64) io.Reader {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rig is one meter on a bench: its memory can be cut from under it, and all that crosses its links is kept.
type rig struct {
	t      testing.TB
	oracle *dlmstest.Oracle
	kind   *kind
	birth  Birth
	memory nvm.Memory
	meter  *Meter
	rand   io.Reader

	mu  sync.Mutex
	now time.Time

	// keys in force, as the central system knows them, and its halves of their counters.
	keys map[role.Role]key.Unicast
	long map[peerKey]security.LongTerm
	// last is the last day of the terminals' derived keys.
	last dlms.Day

	// zone is that of the meter's clock; nil is the default.
	zone *time.Location

	wire     [][]byte // every answer
	requests [][]byte // every request
}

type peerKey struct {
	fp    key.Fingerprint
	title dlms.SystemTitle
}

// Titles of the clients of the tests.
var (
	titleDC  = dlms.SystemTitle{'D', 'C', 'A', 0, 0, 0, 0, 1}
	titleIS  = dlms.SystemTitle{'I', 'S', 'A', 0, 0, 0, 0, 1}
	titleTSP = dlms.SystemTitle{'T', 'S', 'P', 0, 0, 0, 0, 1}
)

// noon is a moment of no special kind: two days after the installation, between two captures.
func noon() time.Time { return time.Date(2006, 12, 19, 12, 10, 20, 0, loadcurve.FileTime()) }

func installed() time.Time { return time.Date(2006, 12, 17, 0, 0, 0, 0, loadcurve.FileTime()) }

func newRig(t testing.TB, profile string, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{
		t: t, oracle: dlmstest.NewOracle(t), now: noon(), rand: seeded(7), memory: new(nvm.Volatile),
		keys: map[role.Role]key.Unicast{}, long: map[peerKey]security.LongTerm{}, last: dlms.DayOf(noon().AddDate(0, 1, 0)),
	}
	row := must(shipment.Generate(seeded(3), "MSL", 1, profile, 1))[0]
	r.birth = Birth{Row: row, Installed: installed(), ScalePerMille: loadcurve.Unscaled}
	r.keys = map[role.Role]key.Unicast{role.CCLAN: row.LAN, role.CCLOCALE: row.Locale}
	if !row.IS.IsZero() {
		r.keys[role.CCIS] = row.IS
	}
	for _, c := range change {
		c(r)
	}
	r.kind = must(newKind(must(profileOf(profile)), Options{
		Now: r.clock, Rand: seeded(9), WrapAEAD: r.oracle.Wrap, Zone: r.zone,
		Curve: loadcurve.Household(installed().Add(-time.Hour), 1),
	}))
	r.meter = must(bear(r.kind, r.birth, r.memory))
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// restart makes the meter anew from its memory, as after a power cut.
func (r *rig) restart() {
	r.t.Helper()
	m, err := restore(r.kind, r.birth.Row.Title, r.memory)
	if err != nil || m == nil {
		r.t.Fatalf("restart: %v, %v", m, err)
	}
	r.meter = m
}

// conn is a link straight into the meter.
type conn struct {
	r      *rig
	link   string
	sap    dlms.SAP
	server dlms.SAP
	answer []byte
}

func (c *conn) Send(_ context.Context, b []byte) error {
	c.r.requests = append(c.r.requests, bytes.Clone(b))
	c.answer = c.r.meter.Server().Handle(context.Background(), c.link, link.Request{Client: c.sap, Server: c.server, APDU: b})
	c.r.wire = append(c.r.wire, bytes.Clone(c.answer))
	return nil
}

func (c *conn) Receive(context.Context) ([]byte, error) {
	if c.answer == nil {
		return nil, errSilence
	}
	b := c.answer
	c.answer = nil
	return b, nil
}

func (c *conn) Close() error { return nil }

var errSilence = errors.New("the meter is silent")

// who is one of the clients of the profiles.
type who struct {
	sap   dlms.SAP
	link  string
	role  role.Role
	title dlms.SystemTitle
}

var (
	readWrite = who{role.SAPReadWrite, LinkLAN, role.CCLAN, titleDC}
	caster    = who{role.SAPBroadcast, LinkLAN, role.CCLAN, titleDC}
	central   = who{role.SAPIS, LinkLAN, role.CCIS, titleIS}
	terminals = who{role.SAPTSP, LinkLocal, role.CCLOCALE, titleTSP}
)

// longTerm is the client's half of a key. Its counters are the client's own and outlive the meter's restarts.
func (r *rig) longTerm(k opener, title dlms.SystemTitle) security.LongTerm {
	id := peerKey{k.Fingerprint(), title}
	if lt, ok := r.long[id]; ok {
		return lt
	}
	c := must(security.NewCipher(r.oracle.Wrap(must(k.AEAD()), k.Fingerprint()), key.Authentication{}))
	lt := security.LongTerm{
		Cipher: c, Send: security.NewMemoryCounter(),
		Floor: security.NewMemoryFloor(r.birth.Row.Title, security.MaxJump),
	}
	r.long[id] = lt
	return lt
}

// keyOf is the key that a client has, and what it says of it.
func (r *rig) keyOf(w who) (opener, []byte) {
	k := r.keys[w.role]
	if setup, _ := w.role.Setup(); !r.kind.profile.derived(setup) || w.link != LinkLocal {
		return k, nil
	}
	return must(k.Derive(w.title, r.last)), role.LastDayInfo(r.last)
}

func (r *rig) config(w who) client.Config {
	k, info := r.keyOf(w)
	c := client.Linky(w.title, r.birth.Row.Title, r.longTerm(k, w.title), r.rand)
	c.WrapAEAD, c.Implementation = r.oracle.Wrap, info
	return c
}

func (r *rig) tryOpen(w who) (*client.Association, error) {
	return client.Open(context.Background(), &conn{r: r, link: w.link, sap: w.sap, server: role.SAPServer}, r.config(w))
}

func (r *rig) open(w who) *client.Association {
	r.t.Helper()
	a, err := r.tryOpen(w)
	if err != nil {
		r.t.Fatalf("open as %d: %v", w.sap, err)
	}
	return a
}

func (r *rig) get(a *client.Association, o Object, attribute int8) dlms.Data {
	r.t.Helper()
	d, err := a.Get(context.Background(), ref(o, attribute))
	if err != nil {
		r.t.Fatalf("get %d/%s/%d: %v", o.Class, o.Instance, attribute, err)
	}
	return d
}

func ref(o Object, attribute int8) dlms.AttributeRef {
	return dlms.AttributeRef{Class: o.Class, Instance: o.Instance, Attribute: attribute}
}

func method(o Object, n int8) dlms.MethodRef {
	return dlms.MethodRef{Class: o.Class, Instance: o.Instance, Method: n}
}

func invoke(a *client.Association, o Object, n int8, arg dlms.Data) error {
	_, err := a.Action(context.Background(), method(o, n), arg)
	return err
}

// sender is the client of w that may transfer keys, in the profile of the meter.
func (r *rig) sender() who {
	if r.kind.profile.Name == ProfileLinky {
		return readWrite
	}
	return central
}

// wrapped is a fresh key and its blob.
func (r *rig) wrapped() (key.Unicast, []byte) {
	k := must(key.GenerateUnicast(r.rand))
	return k, must(r.birth.Row.CCC.Wrap(k))
}

func setupOf(ro role.Role) Object {
	s, _ := ro.Setup()
	return setupObject(s[4])
}

// transfer sends a blob in an association of its own.
func (r *rig) transfer(ro role.Role, id uint8, blob []byte) error {
	r.t.Helper()
	return invoke(r.open(r.sender()), setupOf(ro), cosem.MethodKeyTransfer, cosem.KeyTransfer(id, blob))
}

// codes lists the codes of a log, the oldest first.
func (r *rig) codes(n logNumber) []Code {
	r.meter.mu.Lock()
	defer r.meter.mu.Unlock()
	var out []Code
	for e := range r.meter.state.logs[n-1].all() {
		out = append(out, e.code)
	}
	return out
}

// wantAction fails the test unless err is this refusal.
func wantAction(t *testing.T, what string, err error, want dlms.ActionResult) {
	t.Helper()
	var got dlms.ActionResult
	if !errors.As(err, &got) || got != want {
		t.Errorf("%s: want %s, got %v", what, want, err)
	}
}

func wantAccess(t *testing.T, what string, err error, want dlms.DataAccessResult) {
	t.Helper()
	var got dlms.DataAccessResult
	if !errors.As(err, &got) || got != want {
		t.Errorf("%s: want %s, got %v", what, want, err)
	}
}

// day selects one day of a load curve: the rows of the intervals that begin in it.
func day(from time.Time) apdu.Selection {
	at := func(t time.Time) dlms.Data { return dlms.DateTimeOf(t, 0).Octets() }
	return apdu.RangeDescriptor{
		Column: clockColumn(), From: at(from.Add(time.Minute)), To: at(from.Add(24 * time.Hour)),
	}.Selection()
}

// deviceRand is randomness that never comes again.
func deviceRand() io.Reader { return crand.Reader }
