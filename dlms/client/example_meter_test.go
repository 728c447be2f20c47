package client_test

import (
	"context"
	"crypto/rand"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// What the examples read, and the two ends of it.
var (
	readerTitle = dlms.SystemTitle{'R', 'D', 'R', 0, 0, 0, 0, 9}
	meterTitle  = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}

	energyTotal = dlms.OBIS{1, 0, 1, 8, 0, 255}
	loadCurve   = dlms.OBIS{1, 0, 99, 1, 0, 255}
	lanSetup    = dlms.OBIS{0, 0, 43, 0, 1, 255}
	clockColumn = apdu.Column{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
	start       = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
)

// exampleMeter is the meter of the examples, in this process: a register, a load curve and a security setup.
type exampleMeter struct {
	server *server.Server
	master key.Master
	key    security.LongTerm
}

func (m *exampleMeter) SystemTitle() dlms.SystemTitle                  { return meterTitle }
func (m *exampleMeter) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &m.key, nil }
func (m *exampleMeter) Event(server.Event)                             {}

// Len, Row and Find are the load curve: one row each half hour of a day.
func (m *exampleMeter) Len(*cosem.Env) (uint32, error) { return 48, nil }

func (m *exampleMeter) Row(_ *cosem.Env, i uint32) ([]dlms.Data, error) {
	at := start.Add(time.Duration(i) * 30 * time.Minute)
	return []dlms.Data{dlms.DateTimeOf(at, 0).Octets(), dlms.Uint32(500 + 10*i)}, nil
}

func (m *exampleMeter) Find(_ *cosem.Env, t time.Time) (uint32, error) {
	return uint32(max(0, min(48, (t.Sub(start)+30*time.Minute-1)/(30*time.Minute)))), nil
}

// transfer takes a new key that the maker's master key wraps. A real meter also remembers every key that it held.
func (m *exampleMeter) transfer(_ *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
	k, err := m.master.UnwrapUnicast(wrapped)
	if err != nil || id != 0 {
		return dlms.ActionTypeUnmatched
	}
	replaced := m.key.Generation
	m.key = hold(k)
	m.key.Generation = replaced + 1
	m.server.CloseGeneration(setup, replaced)
	return nil
}

// newExampleMeter is a meter that holds k, and master to change it.
func newExampleMeter(k key.Unicast, master key.Master) *exampleMeter {
	m := &exampleMeter{key: hold(k), master: master}
	model := ok(server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{
			cosem.NewRegister(energyTotal, cosem.Constant(dlms.Uint32(123456)), 0, cosem.UnitWattHour),
			cosem.NewProfileGeneric(cosem.ProfileConfig{
				Instance: loadCurve, Period: 30 * time.Minute, Capacity: 48, Rows: m,
				Columns: []apdu.Column{clockColumn, {Class: dlms.ClassRegister, Instance: energyTotal, Attribute: 2}},
			}),
			cosem.NewSecuritySetup(cosem.SecuritySetupConfig{Instance: lanSetup, Policy: 3, KeyTransfer: m.transfer}),
		},
		Clients: []server.Client{{
			Name: "reader", SAP: 32, Links: []string{"lan"}, Setup: lanSetup, Mechanism: server.MechanismGMAC,
			Policy: security.PolicyAuthenticatedEncrypted, Traffic: server.DedicatedOrGlobal,
			Conformance: 0x001E1D | apdu.ConformanceDataNotification,
			Rights: []server.Right{
				{Class: dlms.ClassRegister, Instance: energyTotal, Read: []int8{2, 3}},
				{Class: dlms.ClassProfileGeneric, Instance: loadCurve, Read: []int8{2}},
				{Class: dlms.ClassSecuritySetup, Instance: lanSetup, Invoke: []int8{cosem.MethodKeyTransfer}},
			},
		}},
	}))
	m.server = server.New(model, m, nil)
	return m
}

// connect stands for wrapper.Dial(ctx, "meter:4059", 32, dlms.SAPManagement).
func (m *exampleMeter) connect(ctx context.Context) link.Conn {
	ours, theirs := net.Pipe()
	go func() { _ = wrapper.ServeConn(ctx, theirs, m.server.Handler("lan"), wrapper.Options{}) }()
	return wrapper.NewConn(ours, 32, dlms.SAPManagement)
}

// hold makes one end's half of a key. Its counters live in memory here: an end that outlives its process has a
// security.BlockCounter and a FloorConfig.Persist that write, so that no counter is used twice.
func hold(k key.Unicast) security.LongTerm {
	return ok(security.NewMemoryLongTerm(ok(k.AEAD()), key.Authentication{}))
}

func newKeys() (key.Unicast, key.Master) {
	return ok(key.GenerateUnicast(rand.Reader)), ok(key.GenerateMaster(rand.Reader))
}
