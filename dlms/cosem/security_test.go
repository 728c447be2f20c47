package cosem_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// fixed is an association as the tests want it.
type fixed struct{}

func (fixed) Context() cosem.AssociationContext {
	return cosem.AssociationContext{
		Client: 32, Server: 1, Ciphered: true, Mechanism: 5, Conformance: 0x001A1D, MaxReceive: 1024, MaxSend: 512,
		Setup: dlms.OBIS{0, 0, 43, 0, 1, 255}, Open: true,
	}
}

func (fixed) ObjectList() dlms.Data {
	return cosem.ObjectList([]cosem.Visible{{
		ID:         cosem.ID{Class: dlms.ClassProfileGeneric, Version: 1, Instance: dlms.OBIS{1, 0, 99, 1, 0, 255}},
		Attributes: []cosem.AttributeAccess{{Attribute: 2, Mode: cosem.ReadOnly, Selectors: []int8{1, 2}}},
		Methods:    []int8{1},
	}})
}

// The bytes as the tables of BB 4.4.4 have them.
func TestTheAssociationEncodesAsTheStandardWrites(t *testing.T) {
	env := &cosem.Env{Association: fixed{}}
	o := cosem.NewAssociation()
	for attribute, want := range map[int8]string{
		1: "\x09\x06\x00\x00\x28\x00\x00\xFF",
		2: "\x01\x01\x02\x04\x12\x00\x07\x11\x01\x09\x06\x01\x00\x63\x01\x00\xFF\x02\x02" +
			"\x01\x01\x02\x03\x0F\x02\x16\x01\x01\x02\x0F\x01\x0F\x02\x01\x01\x02\x02\x0F\x01\x16\x01",
		3: "\x02\x02\x0F\x20\x12\x00\x01",
		4: "\x09\x07\x60\x85\x74\x05\x08\x01\x03",
		5: "\x02\x06\x04\x18\x00\x1A\x1D\x12\x04\x00\x12\x02\x00\x11\x06\x0F\x00\x09\x00",
		6: "\x09\x07\x60\x85\x74\x05\x08\x02\x05",
		8: "\x16\x02",
		9: "\x09\x06\x00\x00\x2B\x00\x01\xFF",
	} {
		got, err := get(t, o, env, attribute).AppendBinary(nil)
		if err != nil || string(got) != want {
			t.Errorf("attribute %d: want % x, got % x, %v", attribute, want, got, err)
		}
	}
}

func TestLaw2TheSecretOfAnAssociationIsNotRead(t *testing.T) {
	env := &cosem.Env{Association: fixed{}}
	o := cosem.NewAssociation()
	if _, err := o.Get(env, cosem.AttributeSecret, apdu.Selection{}); !errors.Is(err, dlms.DataAccessReadWriteDenied) {
		t.Errorf("got %v", err)
	}
	if got := get(t, o, env, 5).At(5); got.Len() != 0 || got.Tag() != dlms.TagOctetString {
		t.Errorf("cyphering_info: %s", got)
	}
	if _, err := o.Get(&cosem.Env{}, 2, apdu.Selection{}); !errors.Is(err, dlms.DataAccessObjectUnavailable) {
		t.Errorf("without an association: %v", err)
	}
}

func TestASecuritySetupShowsTitlesAndNoKey(t *testing.T) {
	own := dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	peer := dlms.SystemTitle{'C', 'O', 'N', 0, 0, 0, 0, 2}
	o := cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
		Instance: dlms.OBIS{0, 0, 43, 0, 1, 255}, Policy: 3,
		ServerTitle: func(*cosem.Env) (dlms.SystemTitle, error) { return own, nil },
	})
	env := &cosem.Env{Peer: peer}
	want(t, o, env, 2, dlms.Enum(3))
	want(t, o, env, 3, dlms.Enum(0))
	want(t, o, env, 4, dlms.OctetString(peer[:]))
	want(t, o, env, 5, dlms.OctetString(own[:]))
	want(t, o, &cosem.Env{}, 4, dlms.OctetString(nil))
	if _, err := o.Get(env, 6, apdu.Selection{}); err == nil {
		t.Error("attribute 6 is there")
	}
}

func TestAKeyTransferIsCheckedInFormAndHandedOverAsACopy(t *testing.T) {
	var got []byte
	setup := dlms.OBIS{0, 0, 43, 0, 3, 255}
	o := cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
		Instance: setup,
		KeyTransfer: func(_ *cosem.Env, s dlms.OBIS, id uint8, wrapped []byte) error {
			if s != setup || id != 2 {
				t.Errorf("got %s, key id %d", s, id)
			}
			got = wrapped
			return dlms.ActionTemporaryFailure
		},
	})
	blob := bytes.Repeat([]byte{7}, 24)
	_, err := o.Invoke(&cosem.Env{}, cosem.MethodKeyTransfer, cosem.KeyTransfer(2, blob))
	if !errors.Is(err, dlms.ActionTemporaryFailure) || len(got) != 24 {
		t.Fatalf("got %v, %d bytes", err, len(got))
	}
	blob[0] = 9 // the APDU goes away
	if got[0] != 7 {
		t.Error("the wrapped key aliases the APDU")
	}
	if _, err := o.Invoke(&cosem.Env{}, 1, dlms.Enum(3)); !errors.Is(err, dlms.ActionReadWriteDenied) {
		t.Errorf("security_activate: %v", err)
	}
}

func FuzzKeyTransfer(f *testing.F) {
	good, err := cosem.KeyTransfer(0, make([]byte, 24)).AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, err := dlms.ParseData(b)
		if err != nil {
			return
		}
		id, wrapped, err := cosem.ParseKeyTransfer(d)
		if err != nil {
			if r := cosem.Action(err); r != dlms.ActionTypeUnmatched && r != dlms.ActionScopeViolated {
				t.Errorf("refused with %s", r)
			}
			return
		}
		if !cosem.KeyTransfer(id, wrapped).Equal(d) {
			t.Errorf("%s is not one key", d)
		}
	})
}
