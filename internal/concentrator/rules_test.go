package concentrator

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	sim "github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/role"
)

var isTitle = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}

// relayed is a link.Conn of the central system over relay envelopes.
type relayed struct {
	w     *world
	meter dlms.SystemTitle
	sap   dlms.SAP
	apdu  []byte
}

func (r *relayed) Send(_ context.Context, apdu []byte) error {
	r.apdu = bytes.Clone(apdu)
	return nil
}

func (r *relayed) Receive(ctx context.Context) ([]byte, error) {
	e := &bus.Relay{Meter: r.meter, ClientSAP: r.sap, ServerSAP: role.SAPServer, APDU: r.apdu}
	reply, err := r.w.is.Order(ctx, own, bus.Order{Relay: e})
	if err != nil {
		return nil, err
	}
	if reply.Fault != nil {
		return nil, reply.Fault
	}
	return reply.Relay.APDU, nil
}

func (r *relayed) Close() error { return nil }

// isOpens opens an association of the central system's own through the concentrator.
func (w *world) isOpens(meter dlms.SystemTitle, sap dlms.SAP, k key.Unicast, from dlms.InvocationCounter) (*client.Association, error) {
	w.t.Helper()
	send := must(security.NewBlockCounter(security.BlockConfig{
		Start: security.Reservation{Ceiling: from}, Reserve: func(security.Reservation) error { return nil },
	}))
	c := must(security.NewCipher(w.oracle.Wrap(must(k.AEAD()), k.Fingerprint()), key.Authentication{}))
	global := security.LongTerm{Cipher: c, Send: send, Floor: security.NewMemoryFloor(meter, security.MaxJump)}
	cfg := client.Linky(isTitle, meter, global, rand.Reader)
	cfg.WrapAEAD, cfg.Timeout = w.oracle.Wrap, 5*time.Second
	return client.Open(w.t.Context(), &relayed{w: w, meter: meter, sap: sap}, cfg)
}

// readTitle is an APDU that any meter answers: the public client's AARQ.
func publicAARQ(t *testing.T) []byte {
	t.Helper()
	m := must(client.NewMachine(client.Config{}))
	return must(m.Open())
}

func TestLaw7TheISReachesItsMeterThroughAConcentratorThatCannotRead(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	a, err := w.isOpens(w.rows[0].Title, role.SAPIS, w.rows[0].IS, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.collect() // its own associations interleave
	if _, err := a.Get(t.Context(), clockRef()); err != nil {
		t.Error(err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNothingIsRelayedOntoItsOwnAssociations(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	q := publicAARQ(t)
	relay := func(clientSAP, server dlms.SAP, apdu []byte) bus.Order {
		return bus.Order{Relay: &bus.Relay{Meter: w.rows[0].Title, ClientSAP: clientSAP, ServerSAP: server, APDU: apdu}}
	}
	if r := w.order(relay(dlms.SAPPublic, role.SAPServer, q)); apdu.Tag(r.Relay.APDU[0]) != apdu.TagAARE {
		t.Errorf("public client: % X", r.Relay.APDU)
	}
	for name, o := range map[string]bus.Order{
		"read/write": relay(role.SAPReadWrite, role.SAPServer, q), "broadcast": relay(role.SAPBroadcast, role.SAPServer, q),
		"all stations": relay(role.SAPIS, dlms.SAPAllStations, q), "nothing": relay(role.SAPIS, role.SAPServer, nil),
		"too long": relay(role.SAPIS, role.SAPServer, make([]byte, 1<<16)),
	} {
		t.Log(name)
		w.wantFault(o, bus.FaultRefused)
	}
	w.order(bus.Order{Claim: &bus.Claim{Meters: []dlms.SystemTitle{w.rows[0].Title}, Until: w.now().Add(time.Minute)}})
	w.order(relay(role.SAPReadWrite, role.SAPServer, q))
	w.wantFault(relay(role.SAPBroadcast, role.SAPServer, q), bus.FaultRefused)
	w.order(bus.Order{Release: &bus.Release{Meters: []dlms.SystemTitle{w.rows[0].Title}}})
	w.wantFault(relay(role.SAPReadWrite, role.SAPServer, q), bus.FaultRefused)
	w.collect()
	strange := bus.Order{Relay: &bus.Relay{Meter: isTitle, ClientSAP: role.SAPIS, ServerSAP: 1, APDU: q}}
	w.wantFault(strange, bus.FaultNoMeter)
}

func TestAClaimedMeterIsLeftAlone(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	w.start()
	w.order(bus.Order{Status: &bus.Status{Associate: true}})
	m := w.rows[0].Title
	claim := func(until time.Duration) bus.Order {
		return bus.Order{Claim: &bus.Claim{Meters: []dlms.SystemTitle{m}, Until: w.now().Add(until)}}
	}
	if r := w.order(claim(time.Minute)); len(r.Claim.Meters) != 1 {
		t.Fatalf("claim: %+v", r.Claim)
	}
	a, err := w.isOpens(m, role.SAPReadWrite, w.rows[0].LAN, 0)
	if err != nil {
		t.Fatal(err)
	}
	// While it is claimed, its own use fails at its deadline, and that of the others goes on.
	r := w.ask(bus.Order{Collect: &bus.Collect{Day: yesterday}}, 2*time.Second)
	if r.Collect == nil || r.Collect.Read != 1 || len(r.Collect.Failed) != 1 || r.Collect.Failed[0].Code != bus.FaultRefused {
		t.Errorf("collect while claimed: %+v", r)
	}
	if _, err := a.Get(t.Context(), clockRef()); err != nil {
		t.Errorf("the claimant was disturbed: %v", err)
	}
	w.order(bus.Order{Release: &bus.Release{Meters: []dlms.SystemTitle{m}}})
	if r := w.collect(m); r.Read != 1 {
		t.Errorf("collect after the release: %+v", r)
	}
	// A claim ends by itself, and those who wait go on.
	w.order(claim(500 * time.Millisecond))
	if r := w.collect(m); r.Read != 1 {
		t.Errorf("collect after the claim ended: %+v", r)
	}
	w.wantFault(bus.Order{Claim: &bus.Claim{Meters: []dlms.SystemTitle{m, isTitle}, Until: w.now().Add(time.Minute)}}, bus.FaultNoMeter)
	w.wantFault(claim(-time.Second), bus.FaultRefused)
	if r := w.order(bus.Order{Perform: &bus.Perform{Meter: m}}); len(r.Perform.Results) != 0 {
		t.Errorf("after refused claims: %+v", r)
	}
}

// transferLAN has the meter change its CC_LAN, as the central system does it in profile linky.
func (w *world) transferLAN(i int, k key.Unicast) {
	w.t.Helper()
	setup, _ := role.CCLAN.Setup()
	param := dlms.Array(dlms.Structure(dlms.Enum(0), dlms.OctetString(must(w.rows[i].CCC.Wrap(k)))))
	op := bus.Op{Kind: bus.OpAction, Class: dlms.ClassSecuritySetup, Instance: setup, Index: 2, Data: must(param.AppendBinary(nil))}
	r := w.order(bus.Order{Perform: &bus.Perform{Meter: w.rows[i].Title, Ops: []bus.Op{op}}})
	if len(r.Perform.Results) != 1 || r.Perform.Results[0].Result != 0 {
		w.t.Fatalf("key transfer: %+v", r.Perform)
	}
}

func (w *world) phase(i int, version uint32, phase bus.Phase) {
	w.t.Helper()
	r := w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{{Meter: w.rows[i].Title, Version: version, Phase: phase}}}})
	if len(r.Provision.Held) != 1 {
		w.t.Fatalf("provision: %+v", r.Provision)
	}
}

func TestAKeyChangeIsFollowedFromSentToActive(t *testing.T) {
	w := newWorld(t, sim.ProfileLinky, 1)
	w.start()
	m, next := w.rows[0].Title, must(key.GenerateUnicast(rand.Reader))
	give := bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{w.sealed(m, 2, bus.PhasePending, next, 1)}}}
	w.order(give)
	if r := w.collect(); r.Read != 1 {
		t.Fatalf("with a key pending: %+v", r)
	}
	w.phase(0, 2, bus.PhaseSent)
	w.order(bus.Order{Claim: &bus.Claim{Meters: []dlms.SystemTitle{m}, Until: w.now().Add(time.Minute)}}) // drops the session
	w.order(bus.Order{Release: &bus.Release{Meters: []dlms.SystemTitle{m}}})
	if got := w.versionInUse(); got != 1 { // sent, and the meter does not have it: n+1 is tried, then n
		t.Fatalf("before the transfer: version %d", got)
	}
	w.transferLAN(0, next)
	if got := w.versionInUse(); got != 2 {
		t.Fatalf("after the transfer: version %d", got)
	}
	w.phase(0, 2, bus.PhaseActive)
	if r := w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{{Meter: m, Version: 1, Phase: bus.PhaseActive}}}}); len(r.Provision.Refused) != 1 {
		t.Errorf("the old version is still there: %+v", r.Provision)
	}
	if got := w.versionInUse(); got != 2 {
		t.Errorf("version %d", got)
	}
}

// versionInUse opens what is not open and says under which version.
func (w *world) versionInUse() uint32 {
	w.t.Helper()
	s := w.order(bus.Order{Status: &bus.Status{Associate: true}}).Status
	if len(s.Associations) != 2 || s.Associations[0].KeyVersion != s.Associations[1].KeyVersion {
		w.t.Fatalf("associations: %+v", s)
	}
	return s.Associations[0].KeyVersion
}

func TestAPendingKeyIsNotTriedEvenWhenTheMeterHasIt(t *testing.T) {
	w := newWorld(t, sim.ProfileLinky, 1)
	w.start()
	m, next := w.rows[0].Title, must(key.GenerateUnicast(rand.Reader))
	w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{w.sealed(m, 2, bus.PhasePending, next, 1)}}})
	w.transferLAN(0, next)
	r := w.collect()
	if len(r.Failed) != 1 || r.Failed[0].Code != bus.FaultKeyRefused {
		t.Errorf("the old key is out of force: %+v", r)
	}
	w.phase(0, 2, bus.PhaseSent)
	if r := w.collect(); r.Read != 1 {
		t.Errorf("sent: %+v", r)
	}
}

func TestAMeterThatComesBackGetsANewBroadcastKeyWithAllOthers(t *testing.T) {
	w := newWorld(t, sim.ProfileLinky, 2)
	c, _ := w.start()
	broadcast := func() *client.Broadcast {
		t.Helper()
		if r := w.order(bus.Order{Broadcast: &bus.Broadcast{Clock: true}}).Broadcast; r.Meters != 2 || len(r.Failed) != 0 {
			t.Fatalf("broadcast: %+v", r)
		}
		c.broadcasting.Lock()
		defer c.broadcasting.Unlock()
		return c.key
	}
	first := broadcast()
	if broadcast() != first {
		t.Error("a new key for nothing")
	}
	next := must(key.GenerateUnicast(rand.Reader))
	w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{w.sealed(w.rows[0].Title, 2, bus.PhaseSent, next, 1)}}})
	w.transferLAN(0, next) // closes its associations
	second := broadcast()
	if second == first {
		t.Error("the key that one meter had left went on")
	}
	for _, m := range c.allMeters() {
		if _, s := m.sessions(); s == nil || s.broadcast != second {
			t.Errorf("meter %s holds another key", m.title)
		}
	}
}

func TestPerformStopsAtTheFirstRefusal(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	m := w.rows[0].Title
	get := bus.Op{Kind: bus.OpGet, Class: dlms.ClassClock, Instance: clockRef().Instance, Index: 2}
	breaker := bus.Op{Kind: bus.OpAction, Class: dlms.ClassDisconnectControl, Instance: dlms.OBIS{0, 0, 96, 3, 10, 255}, Index: 1, Data: must(dlms.Int8(0).AppendBinary(nil))}
	r := w.order(bus.Order{Perform: &bus.Perform{Meter: m, Ops: []bus.Op{get, breaker, get}}}).Perform
	if len(r.Results) != 2 || r.Results[0].Result != 0 || r.Results[1].Result == 0 {
		t.Fatalf("results: %+v", r.Results)
	}
	v, _, err := dlms.ParseData(r.Results[0].Data)
	if err != nil || len(v.Bytes()) != 12 {
		t.Errorf("the clock: %v, %v", v, err)
	}
	for name, ops := range map[string][]bus.Op{
		"kind": {{Kind: "run"}}, "set without data": {{Kind: bus.OpSet}}, "garbage": {{Kind: bus.OpSet, Data: []byte{0xEE}}},
		"trailing": {{Kind: bus.OpSet, Data: []byte{0, 0}}}, "deep": {{Kind: bus.OpSet, Data: bytes.Repeat([]byte{2, 1}, 100)}},
	} {
		t.Log(name)
		w.wantFault(bus.Order{Perform: &bus.Perform{Meter: m, Ops: append([]bus.Op{get}, ops...)}}, bus.FaultRefused)
	}
	w.wantFault(bus.Order{Perform: &bus.Perform{Meter: isTitle, Ops: []bus.Op{get}}}, bus.FaultNoMeter)
}

func TestAMeterWithoutAKeyIsNoKey(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.run(w.config(w.lan()...))
	m := w.rows[0].Title
	w.eventually("the meter is found", func() bool { return len(w.order(bus.Order{Status: &bus.Status{}}).Status.Found) == 1 })
	w.wantFault(bus.Order{Perform: &bus.Perform{Meter: m}}, bus.FaultNoKey)
	w.provisionAll()
	w.order(bus.Order{Perform: &bus.Perform{Meter: m}})
	w.order(bus.Order{Provision: &bus.Provision{Remove: []dlms.SystemTitle{m}}})
	w.wantFault(bus.Order{Perform: &bus.Perform{Meter: m}}, bus.FaultNoKey)
	if a := w.associations(); len(a) != 0 {
		t.Errorf("sessions of a meter that left: %+v", a)
	}
}

func TestLaw4NothingIsSealedBeforeTheBootCounterIsTaken(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.setRefuse(func(u bus.Up) error {
		if u.Hello != nil {
			return errors.New("boot counter does not rise")
		}
		return nil
	})
	w.start()
	r := w.ask(bus.Order{Collect: &bus.Collect{Day: yesterday}}, 3*time.Second).Collect
	if r == nil || len(r.Failed) != 1 || r.Failed[0].Code != bus.FaultRefused {
		t.Fatalf("collect: %+v", r)
	}
	if n := len(w.logged()); n != 0 {
		t.Errorf("%d uses of a key", n)
	}
	w.setRefuse(nil)
	if r := w.collect(); r.Read != 1 {
		t.Errorf("after the greeting: %+v", r)
	}
}

func TestLaw4ARewoundCopyIsNotTaken(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	_, stop := w.start()
	w.collect()
	stop()
	copied := filepath.Join(w.dir, "copy")
	if err := os.CopyFS(copied, os.DirFS(w.data())); err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(copied, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	_, stop = w.run(w.config(w.lan()...))
	w.eventually("the original is greeted", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.epoch == 2 })
	stop()
	cfg := w.config(w.lan()...)
	cfg.Data = copied
	w.run(cfg)
	r := w.ask(bus.Order{Perform: &bus.Perform{Meter: w.rows[0].Title}}, 3*time.Second)
	if r.Fault == nil || !strings.Contains(r.Fault.Text, "hello") {
		t.Errorf("the copy works: %+v", r)
	}
}

func TestOneProcessWorksInADataDirectory(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	w.collect()
	if _, err := New(w.config(), w.deps()); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("got %v", err)
	}
}
