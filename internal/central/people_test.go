package central

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/shipment"
)

// manned is a central system that answers people: two custodians, an operator and a field manager.
func manned(t *testing.T, change func(c *Config)) (*IS, func(name string) *api.Client) {
	t.Helper()
	cfg := Config{Data: filepath.Join(t.TempDir(), "is"), SystemTitle: "4D534C1500000001", Listen: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	files, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{Now: time.Now, Rand: rand.Reader, Transport: files}
	if _, err := Init(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	for name, roles := range map[string][]access.Role{
		"carla": {access.Custodian}, "oscar": {access.Operator}, "frida": {access.FieldManager}, "alice": {access.Auditor},
	} {
		if err := MakePeople(t.Context(), cfg, deps, map[string][]access.Role{name: roles}); err != nil {
			t.Fatal(err)
		}
	}
	if err := MakePeople(t.Context(), cfg, deps, map[string][]access.Role{"carlo": {access.Custodian}}); err != nil {
		t.Fatal(err)
	}
	is, err := Open(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- is.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, is.Close()); err != nil {
			t.Error(err)
		}
	})
	as := func(name string) *api.Client {
		id, err := access.FindIdentity(cfg.Data, name, "")
		if err != nil {
			t.Fatal(err)
		}
		c := api.NewClient(api.Target{Data: cfg.Data, As: id})
		t.Cleanup(c.Close)
		return c
	}
	for range 100 {
		if _, err = as("oscar").Status(t.Context()); err == nil {
			return is, as
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(err)
	return nil, nil
}

// pending expects that a second person is wanted.
func pending(t *testing.T, err error) string {
	t.Helper()
	var p *access.PendingError
	if !errors.As(err, &p) {
		t.Fatalf("want a second person, got %v", err)
	}
	return p.Approval.ID
}

func newPerson(t *testing.T, name string, roles ...access.Role) api.NewPerson {
	t.Helper()
	key, err := access.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	line, err := access.PublicText(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return api.NewPerson{Name: name, Roles: roles, Public: line}
}

func TestOnARunningSystemTwoCustodiansLetSomebodyIn(t *testing.T) {
	is, as := manned(t, nil)
	bob := newPerson(t, "bob", access.Operator)
	if _, err := as("oscar").AddPerson(t.Context(), bob); !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), "to let somebody in takes key-custodian") {
		t.Errorf("an operator: %v", err)
	}
	_, err := as("carla").AddPerson(t.Context(), bob)
	id := pending(t, err)
	if _, err := as("carla").Approve(t.Context(), api.Decision{ID: id}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("the same person: %v", err)
	}
	if _, err := as("oscar").Approve(t.Context(), api.Decision{ID: id}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("an operator approves: %v", err)
	}
	if _, err := as("carlo").Approve(t.Context(), api.Decision{ID: id, Reason: "new colleague"}); err != nil {
		t.Fatal(err)
	}
	mine := newPerson(t, "bob", access.Operator) // another key under the same name
	_, err = as("carla").AddPerson(t.Context(), mine)
	pending(t, err)
	issued, err := as("carla").AddPerson(t.Context(), bob)
	if err != nil || issued.Name != "bob" {
		t.Fatal(issued, err)
	}
	text := exported(t, is)
	for _, want := range []string{`"actor":"person:carla","action":"access.person.added"`, `"actor":"person:carlo","action":"access.approval.given"`, `"actor":"person:oscar","action":"access.refused"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit log does not say %s", want)
		}
	}
	list, err := as("alice").People(t.Context())
	if err != nil || len(list) != 6 {
		t.Errorf("%d people, %v", len(list), err)
	}
	if n, err := as("carla").RevokePerson(t.Context(), api.RevokedPerson{Name: "bob", Why: "left"}); n != 1 || err != nil {
		t.Error(n, err)
	}
}

func TestAtRestTheOwnerLetsPeopleInUntilThereAreTwoCustodians(t *testing.T) {
	cfg := Config{Data: filepath.Join(t.TempDir(), "is"), SystemTitle: "4D534C1500000001", Listen: "127.0.0.1:0"}
	files, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{Now: time.Now, Rand: rand.Reader, Transport: files}
	if _, err := Init(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	h, err := OpenHouse(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	for _, name := range []string{"carla", "carla", "carlo"} { // twice the same is one
		if _, err := h.AddPerson(t.Context(), newPerson(t, name, access.Custodian)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.AddPerson(t.Context(), newPerson(t, "eve", access.Operator)); !errors.Is(err, ErrCustodians) {
		t.Errorf("a third: %v", err)
	}
	if n, err := h.RevokePerson(t.Context(), api.RevokedPerson{Name: "carla", Why: "lost"}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := h.AddPerson(t.Context(), newPerson(t, "eve", access.Operator)); err != nil {
		t.Error(err)
	}
}

func TestWhatPeopleDoIsOnRecordUnderTheirNames(t *testing.T) {
	is, as := manned(t, nil)
	id, err := enrol.NewIdentity(enrol.Concentrator, dcTitle, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := id.File(is.vault.Transport(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := as("oscar").Enrol(t.Context(), api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	p, err := as("oscar").StartCampaign(t.Context(), api.CampaignRequest{Reason: "quarter 1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = as("oscar").SteerCampaign(t.Context(), api.CampaignSteering{ID: p.ID, How: rotation.Abort})
	approval := pending(t, err)
	if _, err := as("carla").Approve(t.Context(), api.Decision{ID: approval}); err != nil {
		t.Fatal(err)
	}
	if p, err = as("oscar").SteerCampaign(t.Context(), api.CampaignSteering{ID: p.ID, How: rotation.Abort}); err == nil && p.State != rotation.CampaignAborted {
		t.Errorf("aborted by two: %+v", p)
	} // it had nothing to do, and may have been done before
	text := exported(t, is)
	for _, want := range []string{
		`"actor":"person:oscar","action":"vault.device.enrolled"`, `"actor":"person:oscar","action":"rotation.campaign.started"`,
		`"actor":"person:carla","action":"access.approval.given"`, `"actor":"person:oscar","action":"access.approval.used"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit log does not say %s", want)
		}
	}
}

func TestEachClassOfOrdersHasItsQuota(t *testing.T) {
	tiny := access.Quota{Limit: 1, Window: time.Hour, Refusals: 100}
	is, as := manned(t, func(c *Config) {
		c.Quotas = map[access.Class]access.Quota{access.Breakers: tiny, access.BulkKeys: tiny}
	})
	meters := withMeters(t, is, 2)
	oscar := as("oscar")
	var p *access.PendingError
	if err := oscar.Breaker(t.Context(), api.Breaker{Meter: meters[0], Op: "open"}); err == nil || errors.As(err, &p) {
		t.Fatalf("the first order: want that no concentrator answers, got %v", err)
	}
	pending(t, oscar.Breaker(t.Context(), api.Breaker{Meter: meters[1], Op: "open"}))
	if err := oscar.Breaker(t.Context(), api.Breaker{Meter: dlms.SystemTitle{9}, Op: "open"}); err == nil || errors.As(err, &p) {
		t.Errorf("a meter that is not there is no order: %v", err)
	}

	_, err := oscar.Rotate(t.Context(), api.Rotation{Meters: meters[:1], Reason: "two keys"})
	pending(t, err)
	if changes, err := oscar.Changes(t.Context(), "two keys"); err != nil || len(changes) != 0 {
		t.Errorf("keys were changed for one person: %v, %v", changes, err)
	}
	_, err = oscar.StartCampaign(t.Context(), api.CampaignRequest{Reason: "all"})
	id := pending(t, err)
	_, err = oscar.StartCampaign(t.Context(), api.CampaignRequest{Reason: "some", Selection: rotation.Selection{Meters: meters}})
	pending(t, err)
	if all, err := oscar.Campaigns(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a campaign was started by one person: %v, %v", all, err)
	}
	if _, err := as("carla").Approve(t.Context(), api.Decision{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := oscar.StartCampaign(t.Context(), api.CampaignRequest{Reason: "all"}); err != nil {
		t.Error(err)
	}
	successor := enrolled(t, is, enrol.Concentrator, 2)
	_, err = oscar.Evict(t.Context(), api.Eviction{Concentrator: dcTitle, Successor: successor, Why: "stolen"})
	pending(t, err)
	pending(t, oscar.Assign(t.Context(), api.Assignment{Concentrator: successor, Meters: meters}))
	if err := oscar.Assign(t.Context(), api.Assignment{Concentrator: dcTitle, Meters: meters}); err != nil {
		t.Errorf("they are there already: %v", err)
	}
}

func TestWhatTheShipmentsOfOneMakerBringHasAQuota(t *testing.T) {
	is, as := manned(t, func(c *Config) {
		c.Quotas = map[access.Class]access.Quota{access.Imports: {Limit: 5, Window: 24 * time.Hour, Refusals: 2}}
	})
	keys := map[string]shipment.MakerKey{}
	for _, letters := range []string{"MSL", "ABC"} {
		k, err := shipment.NewMakerKey(rand.Reader, letters)
		if err != nil {
			t.Fatal(err)
		}
		keys[letters] = k
		if err := as("oscar").AddMaker(t.Context(), api.MakerRequest{Key: k.Public(), Fingerprint: k.Public().Fingerprint()}); err != nil {
			t.Fatal(err)
		}
	}
	file := func(maker string, n int, first uint64) []byte {
		rows, err := shipment.Generate(rand.Reader, maker, n, shipment.ProfileHardened, first)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := shipment.Write(&b, rand.Reader, keys[maker], fmt.Sprint("batch ", first), rows, is.vault.Transport()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	send := func(who string, file []byte) (*shipment.Report, error) {
		return as(who).ImportShipment(t.Context(), bytes.NewReader(file))
	}
	in := func(who string, file []byte, imported, unchanged int) {
		t.Helper()
		if r, err := send(who, file); err != nil || r.Imported != imported || r.Unchanged != unchanged || !r.Clean() {
			t.Errorf("want %d imported and %d unchanged, got %v, %v", imported, unchanged, r, err)
		}
	}
	first, second, third := file("MSL", 3, 1), file("MSL", 3, 11), file("MSL", 1000, 101)
	in("oscar", first, 3, 0)
	for range 3 { // what is there already is not counted: a file may be sent again after a crash
		in("oscar", first, 0, 3)
	}
	_, err := send("oscar", second)
	id := pending(t, err)
	if _, err := send("oscar", second); pending(t, err) != id {
		t.Error("the same file again is another approval")
	}
	in("oscar", file("ABC", 4, 1), 4, 0) // another maker
	if _, err := as("oscar").Approve(t.Context(), api.Decision{ID: id}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("the same person: %v", err)
	}
	if _, err := as("carla").Approve(t.Context(), api.Decision{ID: id}); err != nil {
		t.Fatal(err)
	}
	in("oscar", second, 3, 0)
	// Many different files above the quota stop the maker's class, and no other one.
	if _, err := send("oscar", third); err == nil || !strings.Contains(err.Error(), "class import/msl") || !strings.Contains(err.Error(), "quota lift import/msl") {
		t.Errorf("want the class stopped, got %v", err)
	}
	in("oscar", file("ABC", 1, 11), 1, 0)
	want := map[access.Class]int{access.Imports: 0, access.Imports.Of("MSL"): 6, access.Imports.Of("ABC"): 5}
	all, err := as("alice").Quotas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		if used, ok := want[q.Class]; ok && (q.Used != used || q.Limit != 5 || (q.Stop != nil) != (q.Class == access.Imports.Of("MSL"))) {
			t.Errorf("%s: want %d used, got %+v", q.Class, used, q)
		}
		delete(want, q.Class)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	id = pending(t, as("oscar").LiftStop(t.Context(), access.Imports.Of("MSL")))
	if _, err := as("carla").Approve(t.Context(), api.Decision{ID: id}); err != nil {
		t.Fatal(err)
	}
	if err := as("oscar").LiftStop(t.Context(), access.Imports.Of("MSL")); err != nil {
		t.Error(err)
	}
	_, err = send("oscar", third) // more than a day's quota in one file: a second person
	pending(t, err)
}

// withMeters imports meters and puts them under the concentrator of these tests, which never answers.
func withMeters(t *testing.T, is *IS, n int) (meters []dlms.SystemTitle) {
	t.Helper()
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	if err != nil {
		t.Fatal(err)
	}
	if err := is.AddMaker(t.Context(), api.MakerRequest{Key: maker.Public(), Fingerprint: maker.Public().Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	rows, err := shipment.Generate(rand.Reader, "MSL", n, shipment.ProfileHardened, 1)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := shipment.Write(&b, rand.Reader, maker, "1", rows, is.vault.Transport()); err != nil {
		t.Fatal(err)
	}
	if r, err := is.ImportShipment(t.Context(), &b); err != nil || !r.Clean() {
		t.Fatal(r, err)
	}
	for _, r := range rows {
		meters = append(meters, r.Title)
	}
	if got := enrolled(t, is, enrol.Concentrator, 1); got != dcTitle {
		t.Fatalf("concentrator %s", got)
	}
	if err := is.Assign(t.Context(), api.Assignment{Concentrator: dcTitle, Meters: meters}); err != nil {
		t.Fatal(err)
	}
	return meters
}
