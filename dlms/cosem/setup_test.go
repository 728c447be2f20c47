package cosem_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

var ctx = context.Background()

func TestAReadingIsWrittenWithoutLoss(t *testing.T) {
	for _, c := range []struct {
		value  dlms.Data
		scaler int8
		unit   cosem.Unit
		want   string
	}{
		{dlms.Uint32(123456), -2, cosem.UnitWattHour, "1234.56 Wh"},
		{dlms.Uint32(5), -3, cosem.UnitVolt, "0.005 V"},
		{dlms.Uint64(18446744073709551615), -1, cosem.UnitWattHour, "1844674407370955161.5 Wh"},
		{dlms.Int16(-5), -1, cosem.UnitDegreeCelsius, "-0.5 °C"},
		{dlms.Int8(-7), 3, cosem.UnitWatt, "-7000 W"},
		{dlms.Uint8(0), 127, cosem.UnitCount, "0"},
		{dlms.Float32(2.5), 1, cosem.UnitAmpere, "25 A"},
		{dlms.Enum(3), 2, cosem.UnitCount, "enum 3"},
	} {
		r := cosem.Reading{Value: c.value, ScalerUnit: cosem.ScalerUnit{Scaler: c.scaler, Unit: c.unit}}
		if got := r.String(); got != c.want {
			t.Errorf("%s scaler %d: want %q, got %q", c.value, c.scaler, c.want, got)
		}
	}
	r := cosem.Reading{Value: dlms.Uint32(125), ScalerUnit: cosem.ScalerUnit{Scaler: -2}}
	if v, err := r.Float(); err != nil || v != 1.25 {
		t.Errorf("got %g, %v", v, err)
	}
	r.Value = dlms.OctetString(nil)
	if _, err := r.Float(); err == nil {
		t.Error("an octet-string is a number")
	}
}

func TestRegistersAreReadAndReset(t *testing.T) {
	energy := uint32(123456)
	at := dlms.DateTimeOf(noon, 0)
	cfg := cosem.RegisterConfig{
		Instance:    dlms.OBIS{1, 0, 1, 8, 0, 255},
		ScalerUnit:  cosem.ScalerUnit{Scaler: -1, Unit: cosem.UnitWattHour},
		Value:       func(*cosem.Env) (dlms.Data, error) { return dlms.Uint32(energy), nil },
		Status:      cosem.Constant(dlms.Uint8(4)),
		CaptureTime: func(*cosem.Env) (dlms.DateTime, error) { return at, nil },
		Reset:       func(*cosem.Env) error { energy = 0; return nil },
	}
	extended := cfg
	extended.Instance[3] = 6
	line := reach(t, cosem.NewRegisterOf(cfg), cosem.NewExtendedRegister(extended))
	r := cosem.RegisterAt(line, cfg.Instance)
	if v := got(r.Read(ctx))(t); v.String() != "12345.6 Wh" {
		t.Errorf("got %s", v)
	}
	x := cosem.ExtendedRegisterAt(line, extended.Instance)
	v := got(x.ReadAll(ctx))(t)
	if v.String() != "12345.6 Wh" || !v.Status.Equal(dlms.Uint8(4)) || v.Time != at {
		t.Errorf("got %s, %s, %s", v, v.Status, v.Time)
	}
	must(t, x.Reset(ctx))
	if v := got(r.Value(ctx))(t); !v.Equal(dlms.Uint32(0)) {
		t.Errorf("after a reset: %s", v)
	}
	_, err := line.Get(ctx, dlms.AttributeRef{Class: dlms.ClassRegister, Instance: cfg.Instance, Attribute: 4})
	refused(t, err, dlms.DataAccessObjectUndefined)
	bare := cosem.NewExtendedRegister(cosem.RegisterConfig{})
	want(t, bare, nil, 4, dlms.Null())
	want(t, bare, nil, 5, dlms.DateTimeUnspecified().Octets())
}

func TestAnHDLCSetupIsReadWrittenAndKeptInRange(t *testing.T) {
	setup := cosem.DefaultHDLCSetup()
	must(t, setup.Validate())
	o := dlms.OBIS{0, 0, 22, 0, 0, 255}
	r := cosem.HDLCSetupAt(reach(t, cosem.NewHDLCSetup(o, kept(&setup))), o)
	if v := got(r.Read(ctx))(t); v != cosem.DefaultHDLCSetup() || v.Speed.String() != "9600 bit/s" {
		t.Errorf("got %+v", v)
	}
	next := cosem.HDLCSetup{
		Speed: cosem.Speed115200, TransmitWindow: 7, ReceiveWindow: 2, MaxTransmit: 2030, MaxReceive: 32,
		InterOctetTimeout: 6000, InactivityTimeout: 0, DeviceAddress: 0x3FFD,
	}
	for n := int8(2); n <= 9; n++ {
		must(t, r.Write(ctx, n, next))
	}
	if setup != next {
		t.Errorf("want %+v, got %+v", next, setup)
	}
	for n, bad := range map[int8]cosem.HDLCSetup{
		2: {Speed: 10},
		3: {TransmitWindow: 8},
		4: {ReceiveWindow: 0},
		5: {MaxTransmit: 31},
		6: {MaxReceive: 2031},
		7: {InterOctetTimeout: 19},
		9: {DeviceAddress: 0x4000},
	} {
		refused(t, r.Write(ctx, n, bad), dlms.DataAccessScopeViolated)
	}
	refused(t, r.Write(ctx, 1, next), cosem.ErrValue)
	refused(t, r.Write(ctx, 10, next), cosem.ErrValue)
	object := cosem.NewHDLCSetup(o, kept(&setup))
	refused(t, object.Set(&cosem.Env{}, 3, dlms.Uint16(1)), dlms.DataAccessTypeUnmatched)
	refused(t, object.Set(&cosem.Env{}, 1, dlms.LogicalNameData(o)), dlms.DataAccessReadWriteDenied)
	readOnly := cosem.NewHDLCSetup(o, cosem.Fixed(next))
	refused(t, readOnly.Set(&cosem.Env{}, 3, dlms.Uint8(1)), dlms.DataAccessReadWriteDenied)
	if setup != next {
		t.Errorf("a refused value stayed: %+v", setup)
	}
}

func TestAMeterWithTheFirstVersionOfAnHDLCSetupIsRead(t *testing.T) {
	o := dlms.OBIS{0, 0, 22, 0, 0, 255}
	line := reach(t, old{o})
	v := got(cosem.HDLCSetupAt(line, o).Read(ctx))(t)
	if v.MaxTransmit != 128 || v.MaxReceive != 128 {
		t.Errorf("got %+v", v)
	}
}

// old is an IEC HDLC setup of version 0: its lengths are unsigned.
type old struct{ o dlms.OBIS }

func (s old) ID() cosem.ID { return cosem.ID{Class: dlms.ClassIECHDLCSetup, Instance: s.o} }

func (old) Set(*cosem.Env, int8, dlms.Data) error { return dlms.DataAccessReadWriteDenied }

func (old) Invoke(*cosem.Env, int8, dlms.Data) (dlms.Data, error) {
	return dlms.Null(), dlms.ActionReadWriteDenied
}

func TestATCPUDPSetupIsReadWrittenAndKeptInRange(t *testing.T) {
	setup := cosem.DefaultTCPUDPSetup()
	must(t, setup.Validate())
	o := dlms.OBIS{0, 0, 25, 0, 0, 255}
	r := cosem.TCPUDPSetupAt(reach(t, cosem.NewTCPUDPSetup(o, kept(&setup))), o)
	next := cosem.TCPUDPSetup{Port: 4060, IPReference: dlms.OBIS{0, 0, 25, 7, 0, 255}, MaxSegment: 1400, Connections: 3, InactivityTimeout: 9}
	for n := int8(2); n <= 6; n++ {
		must(t, r.Write(ctx, n, next))
	}
	if v := got(r.Read(ctx))(t); v != next {
		t.Errorf("want %+v, got %+v", next, v)
	}
	for n, bad := range map[int8]cosem.TCPUDPSetup{2: {}, 4: {MaxSegment: 39}, 5: {}} {
		refused(t, r.Write(ctx, n, bad), dlms.DataAccessScopeViolated)
	}
}

func TestLogicalDevicesAreListedAndConnected(t *testing.T) {
	list := []cosem.SAPItem{{SAP: 1, Name: []byte("MSL0000000000001")}}
	o := dlms.OBIS{0, 0, 41, 0, 0, 255}
	line := reach(t, cosem.NewSAPAssignment(cosem.SAPAssignmentConfig{
		Instance: o, List: kept(&list),
		Connect: func(_ *cosem.Env, item cosem.SAPItem) error { list = append(list, item); return nil },
	}))
	r := cosem.SAPAssignmentAt(line, o)
	must(t, r.Connect(ctx, cosem.SAPItem{SAP: 2, Name: []byte("MSL0000000000002")}))
	v := got(r.List(ctx))(t)
	if diff := cmp.Diff([]cosem.SAPItem{{1, []byte("MSL0000000000001")}, {2, []byte("MSL0000000000002")}}, v); diff != "" {
		t.Error(diff)
	}
	refused(t, r.Connect(ctx, cosem.SAPItem{SAP: 3, Name: make([]byte, 65)}), dlms.ActionScopeViolated)
	many := dlms.Array(slices.Repeat([]dlms.Data{list[0].Data()}, 65)...)
	refused(t, line.Set(ctx, dlms.AttributeRef{Class: dlms.ClassSAPAssignment, Instance: o, Attribute: 2}, many), dlms.DataAccessScopeViolated)
	_, err := line.Action(ctx, dlms.MethodRef{Class: dlms.ClassSAPAssignment, Instance: o, Method: 1}, dlms.Int8(0))
	refused(t, err, dlms.ActionTypeUnmatched)
	deaf := cosem.NewSAPAssignment(cosem.SAPAssignmentConfig{Instance: o, List: cosem.Fixed(list)})
	_, err = deaf.Invoke(&cosem.Env{}, 1, list[0].Data())
	refused(t, err, dlms.ActionReadWriteDenied)
}

func TestAListMayComeAsACompactArray(t *testing.T) {
	// Two structures of long-unsigned and octet-string.
	b := []byte{19, 2, 2, 18, 9, 8, 0, 1, 1, 'a', 0, 2, 1, 'b'}
	d, _, err := dlms.ParseData(b)
	must(t, err)
	o := dlms.OBIS{0, 0, 41, 0, 0, 255}
	line := reach(t, compact{o, d})
	v := got(cosem.SAPAssignmentAt(line, o).List(ctx))(t)
	if !slices.EqualFunc(v, []cosem.SAPItem{{1, []byte("a")}, {2, []byte("b")}}, func(a, b cosem.SAPItem) bool {
		return a.Data().Equal(b.Data())
	}) {
		t.Errorf("got %v", v)
	}
}

func sapItems() *rapid.Generator[cosem.SAPItem] {
	return rapid.Custom(func(t *rapid.T) cosem.SAPItem {
		return cosem.SAPItem{SAP: dlms.SAP(rapid.Uint16().Draw(t, "sap")), Name: anyOctets.Draw(t, "name")}
	})
}

func TestSmallValuesReadBackAsWritten(t *testing.T) {
	travels(t, sapItems(), cosem.ParseSAPItem)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ScalerUnit {
		return cosem.ScalerUnit{Scaler: rapid.Int8().Draw(t, "scaler"), Unit: cosem.Unit(rapid.Byte().Draw(t, "unit"))}
	}), cosem.ParseScalerUnit)
}

func FuzzRegister(f *testing.F) {
	fuzz(f, []value{cosem.ScalerUnit{Scaler: -1, Unit: 30}}, parses(cosem.ParseScalerUnit))
}

func FuzzSAPAssignment(f *testing.F) {
	fuzz(f, []value{cosem.SAPItem{SAP: 1, Name: []byte("name")}}, parses(cosem.ParseSAPItem))
}

// compact answers with one value.
type compact struct {
	o dlms.OBIS
	d dlms.Data
}

func (s compact) ID() cosem.ID { return cosem.ID{Class: dlms.ClassSAPAssignment, Instance: s.o} }

func (s compact) Get(*cosem.Env, int8, apdu.Selection) (dlms.Data, error) { return s.d, nil }

func (compact) Set(*cosem.Env, int8, dlms.Data) error { return dlms.DataAccessReadWriteDenied }

func (compact) Invoke(*cosem.Env, int8, dlms.Data) (dlms.Data, error) {
	return dlms.Null(), dlms.ActionReadWriteDenied
}

func (s old) Get(env *cosem.Env, n int8, sel apdu.Selection) (dlms.Data, error) {
	if n == 5 || n == 6 {
		return dlms.Uint8(128), nil
	}
	return cosem.NewHDLCSetup(s.o, cosem.Fixed(cosem.DefaultHDLCSetup())).Get(env, n, sel)
}

func TestADataObjectIsReadAndWrittenFromAfar(t *testing.T) {
	v := dlms.Uint32(1)
	o := dlms.OBIS{0, 0, 96, 1, 0, 255}
	r := cosem.DataAt(reach(t, cosem.NewData(o, func(*cosem.Env) (dlms.Data, error) { return v, nil }, func(_ *cosem.Env, d dlms.Data) error {
		n, err := d.Uint()
		v = dlms.Uint32(uint32(n))
		return err
	})), o)
	must(t, r.SetValue(ctx, dlms.Uint32(7)))
	if d := got(r.Value(ctx))(t); !d.Equal(dlms.Uint32(7)) || r.Instance() != o {
		t.Errorf("%s: %s", r.Instance(), d)
	}
}

// Sums stay at the end of their range: a demand that ran over would turn into an export.
func TestADemandThatRunsOverStaysAtItsEnd(t *testing.T) {
	d := newDemand(t, time.Minute, 1)
	d.Add(noon, 1<<63-1)
	d.Add(noon, 1<<62)
	if v := d.Read(noon); v.Current != (1<<63-1)/60 {
		t.Errorf("current: %d", v.Current)
	}
	d.Reset(noon)
	d.Add(noon, -1<<63)
	d.Add(noon, -1)
	if v := d.Read(noon); v.Current != -(1<<63)/60 {
		t.Errorf("current: %d", v.Current)
	}
}
