package cosem_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func TestAnAssociationTellsAClientAboutItself(t *testing.T) {
	line := reach(t, cosem.NewAssociation())
	line.env.Association = fixed{}
	r := cosem.AssociationAt(line, cosem.CurrentAssociation())
	want := []cosem.ObjectEntry{{
		ID:         cosem.ID{Class: dlms.ClassProfileGeneric, Version: 1, Instance: dlms.OBIS{1, 0, 99, 1, 0, 255}},
		Attributes: []cosem.AttributeAccess{{Attribute: 2, Mode: cosem.ReadOnly, Selectors: []int8{1, 2}}},
		Methods:    []cosem.MethodAccess{{Method: 1, Mode: 1}},
	}}
	if diff := cmp.Diff(want, got(r.ObjectList(ctx))(t)); diff != "" {
		t.Error(diff)
	}
	if v := got(r.Partners(ctx))(t); v != (cosem.Partners{Client: 32, Server: 1}) {
		t.Errorf("partners: %+v", v)
	}
	if v := got(r.Context(ctx))(t); v != (cosem.Name{Arc: 1, ID: 3}) {
		t.Errorf("context: %+v", v)
	}
	if v := got(r.Mechanism(ctx))(t); v != (cosem.Name{Arc: 2, ID: 5}) {
		t.Errorf("mechanism: %+v", v)
	}
	if v := got(r.ContextInfo(ctx))(t); v != (cosem.ContextInfo{Conformance: 0x001A1D, MaxReceive: 1024, MaxSend: 512, Version: 6}) {
		t.Errorf("context info: %+v", v)
	}
	if v := got(r.Status(ctx))(t); v != 2 {
		t.Errorf("status: %d", v)
	}
	if v := got(r.SecuritySetup(ctx))(t); v != (dlms.OBIS{0, 0, 43, 0, 1, 255}) {
		t.Errorf("security setup: %s", v)
	}
}

// The secret is neither read nor written, and a client changes neither it nor the list of objects.
func TestAnAssociationIsNotChangedFromAfar(t *testing.T) {
	o := cosem.NewAssociation()
	env := &cosem.Env{Association: fixed{}}
	for n := int8(1); n <= 11; n++ {
		refused(t, o.Set(env, n, dlms.OctetString([]byte("12345678"))), dlms.DataAccessReadWriteDenied)
	}
	for method, d := range map[int8]dlms.Data{
		2: dlms.OctetString([]byte("12345678")),
		3: cosem.ObjectEntry{}.Data(), 4: cosem.ObjectEntry{}.Data(), 5: dlms.Null(), 6: dlms.Null(),
	} {
		_, err := o.Invoke(env, method, d)
		refused(t, err, dlms.ActionReadWriteDenied)
	}
}

func TestNamesAreReadInBothForms(t *testing.T) {
	long := dlms.Structure(dlms.Uint8(2), dlms.Uint8(16), dlms.Uint16(756), dlms.Uint8(5), dlms.Uint8(8), dlms.Uint8(1), dlms.Uint8(1))
	if v := got(cosem.ParseName(long))(t); v != (cosem.Name{Arc: 1, ID: 1}) {
		t.Errorf("got %+v", v)
	}
	for _, bad := range []dlms.Data{
		dlms.OctetString([]byte{0x60, 0x85, 0x74, 0x05, 0x09, 1, 1}), dlms.OctetString([]byte{0x60, 0x85, 0x74, 0x05, 0x08, 1}),
		dlms.Structure(dlms.Uint8(2), dlms.Uint8(16), dlms.Uint16(757), dlms.Uint8(5), dlms.Uint8(8), dlms.Uint8(1), dlms.Uint8(1)),
		dlms.Null(),
	} {
		if v, err := cosem.ParseName(bad); err == nil {
			t.Errorf("%s is %+v", bad, v)
		}
	}
}

// Version 0 of the class writes the right on a method as a boolean.
func TestTheObjectListOfAnOldMeterIsRead(t *testing.T) {
	d := dlms.Array(dlms.Structure(dlms.Uint16(70), dlms.Uint8(0), dlms.OctetString([]byte{0, 0, 96, 3, 10, 255}), dlms.Structure(
		dlms.Array(dlms.Structure(dlms.Int8(2), dlms.Enum(1), dlms.Null())),
		dlms.Array(dlms.Structure(dlms.Int8(1), dlms.Bool(true)), dlms.Structure(dlms.Int8(2), dlms.Bool(false))))))
	list := got(cosem.ParseObjectList(d))(t)
	if diff := cmp.Diff([]cosem.MethodAccess{{1, 1}, {2, 0}}, list[0].Methods); diff != "" {
		t.Error(diff)
	}
	if s := list[0].Attributes[0].Mode.String(); s != "read" {
		t.Errorf("mode: %s", s)
	}
}

func TestASecuritySetupIsWorkedFromAfar(t *testing.T) {
	policy := uint8(1)
	var keys []string
	title := dlms.SystemTitle{'M', 'T', 'R', 0, 0, 0, 0, 2}
	o := dlms.OBIS{0, 0, 43, 0, 0, 255}
	line := reach(t, cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
		Instance: o, PolicyOf: func(*cosem.Env) (uint8, error) { return policy, nil },
		Activate:    func(_ *cosem.Env, p uint8) error { policy = p; return nil },
		ServerTitle: func(*cosem.Env) (dlms.SystemTitle, error) { return title, nil },
		KeyTransfer: func(_ *cosem.Env, _ dlms.OBIS, _ uint8, wrapped []byte) error {
			keys = append(keys, string(wrapped))
			return nil
		},
	}))
	r := cosem.SecuritySetupAt(line, o)
	for _, c := range []struct {
		to   uint8
		want error
	}{{0, dlms.ActionScopeViolated}, {2, dlms.ActionScopeViolated}, {4, dlms.ActionScopeViolated}, {1, nil}, {3, nil}, {1, dlms.ActionScopeViolated}} {
		refused(t, r.Activate(ctx, c.to), c.want)
	}
	if p := got(r.Policy(ctx))(t); p != 3 {
		t.Errorf("policy: %d", p)
	}
	if v := got(r.Suite(ctx))(t); v != 0 {
		t.Errorf("suite: %d", v)
	}
	if v := got(r.ServerTitle(ctx))(t); v != title {
		t.Errorf("server: %s", v)
	}
	if v := got(r.ClientTitle(ctx))(t); !v.IsZero() {
		t.Errorf("client: %s", v)
	}
	must(t, r.TransferKey(ctx, cosem.KeyGlobalUnicast, []byte("twenty-four bytes, these")))
	if len(keys) != 1 || keys[0] != "twenty-four bytes, these" {
		t.Errorf("keys: %q", keys)
	}
}

func objectEntries() *rapid.Generator[cosem.ObjectEntry] {
	attribute := rapid.Custom(func(t *rapid.T) cosem.AttributeAccess {
		return cosem.AttributeAccess{
			Attribute: rapid.Int8().Draw(t, "attribute"), Mode: cosem.AccessMode(rapid.Byte().Draw(t, "mode")),
			Selectors: rapid.SliceOfN(rapid.Int8(), 0, 3).Draw(t, "selectors"),
		}
	})
	method := rapid.Custom(func(t *rapid.T) cosem.MethodAccess {
		return cosem.MethodAccess{Method: rapid.Int8().Draw(t, "method"), Mode: rapid.Byte().Draw(t, "mode")}
	})
	return rapid.Custom(func(t *rapid.T) cosem.ObjectEntry {
		return cosem.ObjectEntry{
			ID:         cosem.ID{Class: anyClass.Draw(t, "class"), Version: rapid.Byte().Draw(t, "version"), Instance: anyOBIS.Draw(t, "obis")},
			Attributes: rapid.SliceOfN(attribute, 0, 4).Draw(t, "attributes"),
			Methods:    rapid.SliceOfN(method, 0, 3).Draw(t, "methods"),
		}
	})
}

func TestWhatAnAssociationTellsReadsBackAsWritten(t *testing.T) {
	travels(t, objectEntries(), cosem.ParseObjectEntry)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.Partners {
		return cosem.Partners{Client: dlms.SAP(rapid.Byte().Draw(t, "client")), Server: dlms.SAP(rapid.Uint16().Draw(t, "server"))}
	}), cosem.ParsePartners)
	travels(t, rapid.Make[cosem.Name](), cosem.ParseName)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ContextInfo {
		i := rapid.Make[cosem.ContextInfo]().Draw(t, "info")
		i.Conformance &= 0xFFFFFF
		return i
	}), cosem.ParseContextInfo)
}

func FuzzAssociation(f *testing.F) {
	fuzz(f, []value{
		cosem.ObjectEntry{Attributes: []cosem.AttributeAccess{{2, 1, []int8{1}}}, Methods: []cosem.MethodAccess{{1, 1}}},
		cosem.Partners{Client: 16, Server: 1},
		cosem.Name{Arc: 1, ID: 3},
		cosem.ContextInfo{Conformance: 1},
	}, parses(cosem.ParseObjectEntry), parses(cosem.ParsePartners), parses(cosem.ParseName), parses(cosem.ParseContextInfo),
		func(d dlms.Data) (value, error) {
			l, err := cosem.ParseObjectList(d)
			return objectList(l), err
		},
		func(d dlms.Data) (value, error) {
			id, wrapped, err := cosem.ParseKeyTransfer(d)
			return transfer{id, wrapped}, err
		})
}

type objectList []cosem.ObjectEntry

func (l objectList) Data() dlms.Data {
	var list []dlms.Data
	for _, e := range l {
		list = append(list, e.Data())
	}
	return dlms.Array(list...)
}

type transfer struct {
	id      uint8
	wrapped []byte
}

func (t transfer) Data() dlms.Data { return cosem.KeyTransfer(t.id, t.wrapped) }
