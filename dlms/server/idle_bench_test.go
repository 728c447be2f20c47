package server_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// idleMeter is a device that is ready to serve: its key with its cipher, the counter under which it sends, reserved in
// blocks, and the floors of the peers. Its readings are elsewhere.
type idleMeter struct {
	title dlms.SystemTitle
	key   security.LongTerm
}

func (m *idleMeter) SystemTitle() dlms.SystemTitle                  { return m.title }
func (m *idleMeter) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &m.key, nil }
func (m *idleMeter) Event(server.Event)                             {}

func newIdleMeter(tb testing.TB, n uint32) *idleMeter {
	tb.Helper()
	b := [16]byte{1, 2, 3, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	aead, err := testKey(tb, b[:]).AEAD()
	if err != nil {
		tb.Fatal(err)
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		tb.Fatal(err)
	}
	floor, err := security.NewFloorTable(security.FloorConfig{
		Floors: []security.Floor{{Title: concTitle, Last: dlms.InvocationCounter(n)}}, Persist: func(security.Floor) error { return nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	send, err := security.NewBlockCounter(security.BlockConfig{Reserve: func(security.Reservation) error { return nil }})
	if err != nil {
		tb.Fatal(err)
	}
	return &idleMeter{
		title: dlms.SystemTitle{'M', 'S', 'L', 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)},
		key:   security.LongTerm{Cipher: c, Send: send, Floor: floor},
	}
}

// idleKind is a kind of meter with 30 objects.
func idleKind(tb testing.TB) *server.Kind {
	tb.Helper()
	list := []cosem.Object{
		cosem.NewAssociation(),
		cosem.NewClock(cosem.ClockConfig{Instance: obisClock, Time: func(env *cosem.Env) (dlms.DateTime, error) {
			return dlms.DateTimeOf(env.Now, 0), nil
		}}),
		cosem.NewProfileGeneric(cosem.ProfileConfig{
			Instance: obisCurve, Columns: curveColumns(), Period: 30 * time.Minute, Capacity: 48, Rows: curve{},
		}),
	}
	var rights []server.Right
	for i := range byte(27) {
		o := dlms.OBIS{1, 0, i + 1, 8, 0, 255}
		list = append(list, cosem.NewRegister(o, cosem.Constant(dlms.Uint32(uint32(i))), 0, cosem.UnitWattHour))
		rights = append(rights, server.Right{Class: dlms.ClassRegister, Instance: o, Read: []int8{1, 2, 3}})
	}
	m, err := server.NewModel(server.ModelConfig{Objects: list, Clients: []server.Client{
		{Name: "public", SAP: sapPublic, Links: []string{lan}},
		{
			Name: "read/write", SAP: sapReadWrite, Links: []string{lan}, Mechanism: server.MechanismGMAC, Setup: setupLAN,
			Policy: security.PolicyAuthenticatedEncrypted, Rights: rights,
		},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return server.NewKind(m, nil)
}

// inUse is what the heap and the stacks take, after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // pools and finalizers need two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// idleBytes makes n served meters and returns what each takes: server, device, key and counters.
func idleBytes(tb testing.TB, n int) float64 {
	tb.Helper()
	before := inUse()
	kind := idleKind(tb)
	servers := make([]*server.Server, n)
	for i := range servers {
		servers[i] = kind.New(newIdleMeter(tb, uint32(i)))
	}
	each := float64(inUse()-before) / float64(n)
	runtime.KeepAlive(servers)
	return each
}

const maxIdleBytes = 2048

// BenchmarkWireIdleServer is 100,000 served meters of 30 objects, idle and unassociated, without sockets.
func BenchmarkWireIdleServer(b *testing.B) {
	each := 0.0
	for b.Loop() {
		each = idleBytes(b, 100_000)
	}
	b.ReportMetric(each, "bytes/meter")
}

func TestAnIdleMeterOfThirtyObjectsTakesFewBytes(t *testing.T) {
	each := idleBytes(t, 5000)
	t.Logf("%.0f bytes", each)
	if each > maxIdleBytes {
		t.Errorf("want at most %d bytes, got %.0f", maxIdleBytes, each)
	}
}

// A meter whose only association was released keeps what it must remember of it, and no more.
func TestAMeterThatWasReadTakesFewBytesAgain(t *testing.T) {
	const n = 300
	kind := server.NewKind(changedModel(t, nil), &server.Options{Now: func() time.Time { return epoch }})
	benches := make([]*bench, n)
	for i := range benches {
		benches[i] = newBench(t)
		benches[i].unwatched = true
		benches[i].srv = kind.New(benches[i].dev)
	}
	before := inUse()
	for _, b := range benches {
		p := b.concentrator().open()
		p.works()
		p.wantReleased(p.send(p.release(p.sealGlobal(p.farewell()))), 0)
		b.dev.events = nil
	}
	each := float64(inUse()-before) / n
	t.Logf("%.0f bytes", each)
	if each > maxIdleBytes {
		t.Errorf("want at most %d bytes, got %.0f", maxIdleBytes, each)
	}
	runtime.KeepAlive(benches)
}
