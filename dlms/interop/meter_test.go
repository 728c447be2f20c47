package interop

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// SAPs of the clients of the meter.
const (
	sapGMAC        dlms.SAP = 1
	sapPublic      dlms.SAP = 16
	sapLLS         dlms.SAP = 17
	sapLLSCiphered dlms.SAP = 18
	sapSHA256      dlms.SAP = 19
	sapSHA256Plain dlms.SAP = 20
)

// line is the name of the link of the meter.
const line = "line"

var (
	obisName    = dlms.OBIS{0, 0, 42, 0, 0, 255}
	obisClock   = dlms.OBIS{0, 0, 1, 0, 0, 255}
	obisEnergy  = dlms.OBIS{1, 0, 1, 8, 0, 255}
	obisProfile = dlms.OBIS{1, 0, 99, 1, 0, 255}
	obisBreaker = dlms.OBIS{0, 0, 96, 3, 10, 255}
	obisNote    = dlms.OBIS{0, 0, 96, 1, 0, 255}
	obisSetup   = dlms.OBIS{0, 0, 43, 0, 0, 255}
	obisFloor   = dlms.OBIS{0, 0, 43, 1, 0, 255}

	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// seeded is a repeatable source of randomness.
func seeded(seed uint64) io.Reader {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

// opened is keys of a recording, made into keys.
type opened struct {
	ek     key.Unicast
	ak     key.Authentication
	kek    key.Master
	secret key.Secret
}

func (k keys) open() (o opened, err error) {
	var b [4][]byte
	for i, s := range []string{k.EK, k.AK, k.KEK, k.Secret} {
		if b[i], err = hex.DecodeString(s); err != nil {
			return o, err
		}
	}
	if o.ek, err = key.NewUnicast(b[0]); err != nil {
		return o, err
	}
	if o.ak, err = key.NewAuthentication(b[1]); err != nil {
		return o, err
	}
	if o.kek, err = key.NewMaster(b[2]); err != nil {
		return o, err
	}
	o.secret, err = key.NewSecret(b[3])
	return o, err
}

// longTerm makes the encryption key one end's, with a first counter.
func longTerm(k opened, ek key.Unicast, first uint32, floor security.ReceiveFloor) (*security.LongTerm, error) {
	aead, err := ek.AEAD()
	if err != nil {
		return nil, err
	}
	c, err := security.NewCipher(aead, k.ak)
	if err != nil {
		return nil, err
	}
	return &security.LongTerm{Cipher: c, Send: &counter{first}, Floor: floor}, nil
}

// counter is a sending counter that starts where a recording says.
type counter struct{ next uint32 }

func (c *counter) Next() (dlms.InvocationCounter, error) {
	v := c.next
	c.next++
	return dlms.InvocationCounter(v), nil
}

// meter is our end where the other's is a client: a small meter whose clock stands still.
type meter struct {
	title  dlms.SystemTitle
	keys   opened
	long   *security.LongTerm
	clock  dlms.DateTime
	note   []byte
	state  cosem.ControlState
	change func(generation uint32)
}

var (
	_ server.Device       = (*meter)(nil)
	_ server.SecretHolder = (*meter)(nil)
)

func (m *meter) SystemTitle() dlms.SystemTitle { return m.title }

func (m *meter) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return m.long, nil }

func (m *meter) Event(server.Event) {}

func (m *meter) Secret(string) (key.Secret, error) { return m.keys.secret, nil }

// transfer takes a new encryption key.
func (m *meter) transfer(env *cosem.Env, id uint8, wrapped []byte) error {
	if id != cosem.KeyGlobalUnicast {
		return dlms.ActionScopeViolated
	}
	k, err := m.keys.kek.UnwrapUnicast(wrapped)
	if err != nil {
		return dlms.ActionOtherReason
	}
	next, err := longTerm(m.keys, k, 1, newFloor())
	if err != nil {
		return dlms.ActionHardwareFault
	}
	replaced := m.long.Generation
	next.Generation = replaced + 1
	m.long = next
	env.After(func() { m.change(replaced) })
	return nil
}

func newFloor() security.ReceiveFloor {
	t, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	if err != nil {
		panic(err) // the configuration is a constant
	}
	return t
}

// rows is a load profile of 96 quarters of an hour that end at the epoch.
type rows struct{}

const quarters = 96

func (rows) Len(*cosem.Env) (uint32, error) { return quarters, nil }

func (rows) at(i uint32) time.Time {
	return epoch.Add(time.Duration(int(i)-quarters+1) * 15 * time.Minute)
}

func (r rows) Row(_ *cosem.Env, i uint32) ([]dlms.Data, error) {
	return []dlms.Data{dlms.DateTimeOf(r.at(i), 0).Octets(), dlms.Uint32(1000 + 7*i)}, nil
}

func (r rows) Find(_ *cosem.Env, t time.Time) (uint32, error) {
	for i := range uint32(quarters) {
		if !r.at(i).Before(t) {
			return i, nil
		}
	}
	return quarters, nil
}

func (m *meter) objects() []cosem.Object {
	move := func(to cosem.ControlState) func(*cosem.Env) error {
		return func(*cosem.Env) error { m.state = to; return nil }
	}
	return []cosem.Object{
		cosem.NewAssociation(),
		cosem.NewData(obisName, cosem.Constant(dlms.OctetString([]byte("MSL0000000000009"))), nil),
		cosem.NewClock(cosem.ClockConfig{
			Instance: obisClock, Zone: -60,
			Time:    func(*cosem.Env) (dlms.DateTime, error) { return m.clock, nil },
			SetTime: func(_ *cosem.Env, t dlms.DateTime) error { m.clock = t; return nil },
			Shift:   func(*cosem.Env, int16) error { return nil },
		}),
		cosem.NewRegister(obisEnergy, cosem.Constant(dlms.Uint32(123456)), 0, cosem.UnitWattHour),
		cosem.NewProfileGeneric(cosem.ProfileConfig{
			Instance: obisProfile, Period: 15 * time.Minute, Capacity: quarters, Rows: rows{},
			Columns: []apdu.Column{
				{Class: dlms.ClassClock, Instance: obisClock, Attribute: 2},
				{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2},
			},
		}),
		cosem.NewData(obisNote,
			func(*cosem.Env) (dlms.Data, error) { return dlms.OctetString(m.note), nil },
			func(_ *cosem.Env, v dlms.Data) error {
				if v.Tag() != dlms.TagOctetString {
					return dlms.DataAccessTypeUnmatched
				}
				m.note = bytes.Clone(v.Bytes())
				return nil
			}),
		cosem.NewDisconnectControl(cosem.DisconnectConfig{
			Instance: obisBreaker, Mode: 4,
			State: func(*cosem.Env) (bool, cosem.ControlState, error) {
				return m.state == cosem.Connected, m.state, nil
			},
			Disconnect: move(cosem.Disconnected), Reconnect: move(cosem.Connected),
		}),
		cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
			Instance: obisSetup, Policy: 3,
			ServerTitle: func(*cosem.Env) (dlms.SystemTitle, error) { return m.title, nil },
			KeyTransfer: func(env *cosem.Env, _ dlms.OBIS, id uint8, wrapped []byte) error { return m.transfer(env, id, wrapped) },
		}),
		cosem.NewData(obisFloor, func(*cosem.Env) (dlms.Data, error) {
			return dlms.Uint32(uint32(m.highest())), nil
		}, nil),
	}
}

func (m *meter) highest() dlms.InvocationCounter {
	if t, ok := m.long.Floor.(*security.FloorTable); ok {
		return t.Highest()
	}
	return 0
}

// everything is the right to all that an object has.
func everything(objects []cosem.Object) []server.Right {
	write := map[dlms.OBIS][]int8{obisNote: {2}, obisClock: {2}}
	invoke := map[dlms.OBIS][]int8{obisBreaker: {1, 2}, obisClock: {6}, obisSetup: {2}}
	var list []server.Right
	for _, o := range objects {
		id := o.ID()
		read := []int8{1, 2, 3, 4, 5, 6, 7, 8, 9}
		switch id.Class {
		case dlms.ClassData:
			read = read[:2]
		case dlms.ClassRegister:
			read = read[:3]
		case dlms.ClassDisconnectControl:
			read = read[:4]
		case dlms.ClassSecuritySetup:
			read = read[:5]
		case dlms.ClassProfileGeneric:
			read = read[:8]
		case dlms.ClassAssociationLN:
			read = []int8{1, 2, 3, 4, 5, 6, 8, 9}
		}
		list = append(list, server.Right{Class: id.Class, Instance: id.Instance, Read: read, Write: write[id.Instance], Invoke: invoke[id.Instance]})
	}
	return list
}

func newMeter(r *recording) (*server.Server, error) {
	k, err := r.Keys.open()
	if err != nil {
		return nil, err
	}
	title, err := dlms.ParseSystemTitle(r.Title)
	if err != nil {
		return nil, err
	}
	m := &meter{title: title, keys: k, clock: dlms.DateTimeOf(epoch, 0), note: []byte("nothing yet"), state: cosem.Connected}
	if m.long, err = longTerm(k, k.ek, 1, newFloor()); err != nil {
		return nil, err
	}
	objects := m.objects()
	clients, err := m.clients(r.Server, everything(objects))
	if err != nil {
		return nil, err
	}
	model, err := server.NewModel(server.ModelConfig{Objects: objects, Clients: clients})
	if err != nil {
		return nil, err
	}
	s := server.New(model, m, &server.Options{Now: func() time.Time { return epoch }, Rand: seeded(r.Seed)})
	m.change = func(replaced uint32) { s.CloseGeneration(obisSetup, replaced) }
	return s, nil
}

// clients are the clients of each kind of meter: "large" takes APDUs of 1024 bytes, "small" of 128, so that all that
// is longer comes in blocks; "gbt" is "small" with general block transfer, "push"
// is "large" with notifications.
func (m *meter) clients(kind string, rights []server.Right) ([]server.Client, error) {
	sizes := map[string]uint16{"large": 1024, "small": 128, "gbt": 128, "push": 1024}
	size, ok := sizes[kind]
	if !ok {
		return nil, fmt.Errorf("no meter %q", kind)
	}
	offers := client.DefaultConformance | apdu.ConformanceBlockTransferAction | apdu.ConformanceGeneralProtection
	switch kind {
	case "gbt":
		offers |= apdu.ConformanceGeneralBlockTransfer
	case "push":
		offers |= apdu.ConformanceDataNotification | apdu.ConformanceEventNotification
	}
	plain := server.Client{Links: []string{line}, MaxPDU: size, Conformance: offers &^ apdu.ConformanceGeneralProtection, Rights: rights}
	ciphered := server.Client{
		Links: []string{line}, MaxPDU: size, Conformance: offers, Rights: rights,
		Setup: obisSetup, Policy: security.PolicyAuthenticated, Traffic: server.DedicatedOrGlobal,
		GeneralForms: true, SharedHLSCounter: true,
	}
	as := func(c server.Client, name string, sap dlms.SAP, m server.Mechanism) server.Client {
		c.Name, c.SAP, c.Mechanism = name, sap, m
		return c
	}
	return []server.Client{
		as(plain, "public", sapPublic, server.MechanismNone),
		as(ciphered, "management", sapGMAC, server.MechanismGMAC),
		as(plain, "lls", sapLLS, server.MechanismLLS),
		as(ciphered, "lls-ciphered", sapLLSCiphered, server.MechanismLLS),
		as(ciphered, "sha256", sapSHA256, server.MechanismSHA256),
		as(plain, "sha256-plain", sapSHA256Plain, server.MechanismSHA256),
	}, nil
}

// serve is our end on one connection, until the other end closes it.
func serve(ctx context.Context, kind string, c net.Conn, s *server.Server) error {
	switch kind {
	case linkWrapper:
		return wrapper.ServeConn(ctx, c, s.Handler(line), wrapper.Options{})
	case linkHDLC:
		return hdlc.ServeConn(ctx, c, s.Handler(line), hdlc.Options{})
	}
	return fmt.Errorf("no link %q", kind)
}
