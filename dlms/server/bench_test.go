package server_test

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// The clients, links and objects of the device of these tests.
const (
	lan   = "lan"
	local = "local"

	sapPublic    dlms.SAP = 16
	sapReadWrite dlms.SAP = 32
	sapBroadcast dlms.SAP = 48
	sapIS        dlms.SAP = 64
	sapBench     dlms.SAP = 1
)

var (
	setupLAN = dlms.OBIS{0, 0, 43, 0, 1, 255}
	setupIS  = dlms.OBIS{0, 0, 43, 0, 3, 255}

	obisName    = dlms.OBIS{0, 0, 42, 0, 0, 255}
	obisClock   = dlms.OBIS{0, 0, 1, 0, 0, 255}
	obisEnergy  = dlms.OBIS{1, 1, 1, 8, 0, 255}
	obisCurve   = dlms.OBIS{1, 1, 99, 1, 0, 255}
	obisBreaker = dlms.OBIS{0, 0, 96, 3, 10, 255}
	obisNote    = dlms.OBIS{0, 0, 96, 1, 0, 255}

	current = cosem.CurrentAssociation()

	meterTitle = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	concTitle  = dlms.SystemTitle{'C', 'O', 'N', 0, 0, 0, 0, 2}
	isTitle    = dlms.SystemTitle{'I', 'S', 'X', 0, 0, 0, 0, 3}

	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// device is the meter of these tests.
type device struct {
	keys   map[dlms.OBIS]*security.LongTerm
	events []server.Event

	energy   uint32
	breaker  cosem.ControlState
	note     []byte
	shifts   []int16
	transfer func(env *cosem.Env, setup dlms.OBIS, keyID uint8, wrapped []byte) error

	secrets map[string]string // by the name of the client
	// everybody is the global broadcast key, with its floor.
	everybody      *security.Cipher
	everybodyFloor *security.FloorTable
}

func (d *device) Secret(client string) (key.Secret, error) {
	return key.NewSecret([]byte(d.secrets[client]))
}

func (d *device) BroadcastKey(dlms.OBIS) (*security.Cipher, security.ReceiveFloor, error) {
	if d.everybody == nil {
		return nil, nil, errors.New("no such key")
	}
	return d.everybody, d.everybodyFloor, nil
}

func (d *device) SystemTitle() dlms.SystemTitle { return meterTitle }

func (d *device) LongTerm(setup dlms.OBIS) (*security.LongTerm, error) {
	lt := d.keys[setup]
	if lt == nil {
		return nil, errors.New("floor not readable")
	}
	return lt, nil
}

func (d *device) Event(e server.Event) { d.events = append(d.events, e) }

func (d *device) count(kind server.EventKind) int {
	n := 0
	for _, e := range d.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// of returns the device of a call; another type is a fault of the server and panics.
func of(env *cosem.Env) *device {
	d, ok := env.Device.(*device)
	if !ok {
		panic("env has another device")
	}
	return d
}

// curve is 48 half hours before epoch.
type curve struct{}

func (curve) Len(*cosem.Env) (uint32, error) { return 48, nil }

func (curve) at(i uint32) time.Time { return epoch.Add(time.Duration(int(i)-47) * 30 * time.Minute) }

func (c curve) Row(_ *cosem.Env, i uint32) ([]dlms.Data, error) {
	return []dlms.Data{dlms.DateTimeOf(c.at(i), 0).Octets(), dlms.Uint8(0), dlms.Uint32(1000 + i)}, nil
}

func (c curve) Find(_ *cosem.Env, t time.Time) (uint32, error) {
	for i := range uint32(48) {
		if !c.at(i).Before(t) {
			return i, nil
		}
	}
	return 48, nil
}

func curveColumns() []apdu.Column {
	return []apdu.Column{
		{Class: dlms.ClassClock, Instance: obisClock, Attribute: 2},
		{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 10, 1, 255}, Attribute: 2},
		{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2},
	}
}

func objects() []cosem.Object {
	title := func(*cosem.Env) (dlms.SystemTitle, error) { return meterTitle, nil }
	transfer := func(env *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
		if f := of(env).transfer; f != nil {
			return f(env, setup, id, wrapped)
		}
		return dlms.ActionReadWriteDenied
	}
	setup := func(o dlms.OBIS) cosem.Object {
		return cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
			Instance: o, Policy: 3, ServerTitle: title, KeyTransfer: transfer,
		})
	}
	move := func(to cosem.ControlState) func(*cosem.Env) error {
		return func(env *cosem.Env) error { of(env).breaker = to; return nil }
	}
	return []cosem.Object{
		cosem.NewAssociation(),
		cosem.NewData(obisName, cosem.Constant(dlms.OctetString([]byte("MSL0000000000001"))), nil),
		cosem.NewClock(cosem.ClockConfig{
			Instance: obisClock,
			Time:     func(env *cosem.Env) (dlms.DateTime, error) { return dlms.DateTimeOf(env.Now, 0), nil },
			Shift:    func(env *cosem.Env, s int16) error { of(env).shifts = append(of(env).shifts, s); return nil },
		}),
		cosem.NewRegister(obisEnergy, func(env *cosem.Env) (dlms.Data, error) {
			return dlms.Uint32(of(env).energy), nil
		}, 0, cosem.UnitWattHour),
		cosem.NewProfileGeneric(cosem.ProfileConfig{
			Instance: obisCurve, Columns: curveColumns(), Period: 30 * time.Minute, Capacity: 48, Rows: curve{},
		}),
		cosem.NewDisconnectControl(cosem.DisconnectConfig{
			Instance: obisBreaker, Mode: 4,
			State: func(env *cosem.Env) (bool, cosem.ControlState, error) {
				return of(env).breaker == cosem.Connected, of(env).breaker, nil
			},
			Disconnect: move(cosem.Disconnected), Reconnect: move(cosem.ReadyForReconnection),
		}),
		cosem.NewData(obisNote, func(env *cosem.Env) (dlms.Data, error) {
			return dlms.OctetString(of(env).note), nil
		}, func(env *cosem.Env, v dlms.Data) error {
			b, err := v.OctetString()
			if err != nil {
				return dlms.DataAccessTypeUnmatched
			}
			of(env).note = append([]byte(nil), b...)
			return nil
		}),
		setup(setupLAN), setup(setupIS),
	}
}

func clients() []server.Client {
	read := []server.Right{
		{Class: dlms.ClassAssociationLN, Instance: current, Read: []int8{1, 2, 3, 4, 5, 6, 8, 9}},
		{Class: dlms.ClassData, Instance: obisName, Read: []int8{1, 2}},
		{Class: dlms.ClassClock, Instance: obisClock, Read: []int8{1, 2, 3, 4, 5, 6, 7, 8, 9}, Invoke: []int8{6}},
		{Class: dlms.ClassRegister, Instance: obisEnergy, Read: []int8{1, 2, 3}},
		{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Read: []int8{1, 2, 3, 4, 5, 6, 7, 8}},
		{Class: dlms.ClassData, Instance: obisNote, Read: []int8{1, 2}, Write: []int8{2}},
	}
	all := append([]server.Right{
		{Class: dlms.ClassDisconnectControl, Instance: obisBreaker, Read: []int8{1, 2, 3, 4}, Invoke: []int8{1, 2}},
		{Class: dlms.ClassSecuritySetup, Instance: setupLAN, Read: []int8{1, 2, 3, 4, 5}, Invoke: []int8{2}},
		{Class: dlms.ClassSecuritySetup, Instance: setupIS, Read: []int8{1, 2, 3, 4, 5}, Invoke: []int8{2}},
	}, read...)
	ae := security.PolicyAuthenticatedEncrypted
	return []server.Client{
		{
			Name: "public", SAP: sapPublic, Links: []string{lan, local},
			Rights: []server.Right{
				{Class: dlms.ClassData, Instance: obisName, Read: []int8{2}},
				{Class: dlms.ClassAssociationLN, Instance: current, Read: []int8{1, 2}},
			},
		},
		{
			Name: "read/write", SAP: sapReadWrite, Links: []string{lan}, Mechanism: server.MechanismGMAC,
			Setup: setupLAN, Policy: ae, Rights: read,
		},
		{
			Name: "broadcast", SAP: sapBroadcast, Links: []string{lan}, Mechanism: server.MechanismGMAC,
			Setup: setupLAN, Policy: ae, Broadcast: true,
			Rights: []server.Right{{Class: dlms.ClassClock, Instance: obisClock, Invoke: []int8{6}}},
		},
		{
			Name: "is", SAP: sapIS, Links: []string{lan}, Mechanism: server.MechanismGMAC,
			Setup: setupIS, Policy: ae, Rights: all,
		},
		{
			Name: "bench", SAP: sapBench, Links: []string{local}, Mechanism: server.MechanismGMAC,
			Setup: setupLAN, Policy: security.PolicyAuthenticated, Traffic: server.DedicatedOrGlobal,
			GeneralForms: true, SharedHLSCounter: true, Rights: all,
		},
	}
}

// bench is one device with its server, and a clock that the test turns.
type bench struct {
	t      testing.TB
	dev    *device
	srv    *server.Server
	oracle *dlmstest.Oracle
	now    time.Time
	seeds  uint64
	// repeats is set by a test whose peer repeats a nonce of its own on purpose.
	repeats bool
	// unwatched leaves the oracle out, for a benchmark.
	unwatched bool
}

func newBench(t testing.TB, change ...func(*server.Options)) *bench {
	t.Helper()
	m, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: clients()})
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOf(t, m, change...)
}

// wideBench is a bench whose server takes, and so also says, as much as there can be.
func wideBench(t testing.TB) *bench {
	t.Helper()
	all := clients()
	for i := range all {
		all[i].MaxPDU = 0xFFFF
	}
	m, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: all})
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOf(t, m)
}

func newBenchOf(t testing.TB, m *server.Model, change ...func(*server.Options)) *bench {
	t.Helper()
	b := &bench{t: t, now: epoch, oracle: new(dlmstest.Oracle)}
	t.Cleanup(func() {
		if err := b.oracle.Err(); err != nil && !b.repeats {
			t.Error(err)
		}
	})
	b.dev = &device{keys: map[dlms.OBIS]*security.LongTerm{}, breaker: cosem.Connected, energy: 123456}
	b.dev.keys[setupLAN] = b.longTerm(lanKey(), 1)
	b.dev.keys[setupIS] = b.longTerm(isKey(), 1)
	o := server.Options{Now: func() time.Time { return b.now }, Rand: b.rand(), WrapAEAD: b.wrap}
	for _, f := range change {
		f(&o)
	}
	b.srv = server.New(m, b.dev, &o)
	return b
}

// rand is a source of randomness of its own, the same in every run.
func (b *bench) rand() *rand.ChaCha8 {
	b.seeds++
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], b.seeds)
	return rand.NewChaCha8(seed)
}

func testKey(t testing.TB, b []byte) key.Unicast {
	t.Helper()
	k, err := key.NewUnicast(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func lanKey() []byte   { return []byte("a LAN key of 16!") }
func isKey() []byte    { return []byte("an IS key of 16!") }
func otherKey() []byte { return []byte("some other key !") }

// cipherOf makes a watched cipher of key bytes.
func (b *bench) cipherOf(k []byte) *security.Cipher {
	u := testKey(b.t, k)
	aead, err := u.AEAD()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.watched(aead, u.Fingerprint())
}

func (b *bench) wrap(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
	if b.unwatched {
		return aead
	}
	return b.oracle.Wrap(aead, fp)
}

func (b *bench) watched(aead cipher.AEAD, fp key.Fingerprint) *security.Cipher {
	c, err := security.NewCipher(b.wrap(aead, fp), key.Authentication{})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) longTerm(k []byte, generation uint32) *security.LongTerm {
	floor, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	if err != nil {
		b.t.Fatal(err)
	}
	return &security.LongTerm{
		Cipher: b.cipherOf(k), Send: security.NewMemoryCounter(), Floor: floor, Generation: generation,
	}
}

// handle gives the server one APDU.
func (b *bench) handle(linkName string, from dlms.SAP, apdu []byte) []byte {
	return b.srv.Handle(context.Background(), linkName, link.Request{Client: from, Server: 1, APDU: apdu})
}

// toAll gives the server one APDU that is addressed to all stations, which is never answered.
func (b *bench) toAll(from dlms.SAP, apdu []byte) {
	b.t.Helper()
	answer := b.srv.Handle(context.Background(), lan,
		link.Request{Client: from, Server: dlms.SAPAllStations, APDU: apdu})
	if answer != nil {
		b.t.Fatalf("a broadcast was answered: % x", answer)
	}
}
