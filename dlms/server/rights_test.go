package server_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

func TestWhatIsNotGrantedIsDenied(t *testing.T) {
	b := newBench(t)
	p, is := b.concentrator().open(), b.is().open()
	for _, c := range []struct {
		got, want dlms.DataAccessResult
	}{
		{p.get(dlms.ClassDisconnectControl, obisBreaker, 2).Result, dlms.DataAccessObjectUndefined}, // another client's
		{p.get(dlms.ClassRegister, dlms.OBIS{9}, 2).Result, dlms.DataAccessObjectUndefined},         // nobody's
		{p.get(dlms.ClassData, obisEnergy, 2).Result, dlms.DataAccessObjectUndefined},               // of another class
		{p.get(dlms.ClassRegister, obisEnergy, 4).Result, dlms.DataAccessReadWriteDenied},
		{p.get(dlms.ClassRegister, obisEnergy, 0).Result, dlms.DataAccessReadWriteDenied},
		{p.get(dlms.ClassRegister, obisEnergy, -1).Result, dlms.DataAccessReadWriteDenied},
		{p.set(dlms.ClassRegister, obisEnergy, 2, dlms.Uint32(1)), dlms.DataAccessReadWriteDenied},
		{p.set(dlms.ClassDisconnectControl, obisBreaker, 3, dlms.Enum(0)), dlms.DataAccessObjectUndefined},
		{p.set(dlms.ClassData, obisNote, 2, dlms.Uint8(1)), dlms.DataAccessTypeUnmatched},
		{p.set(dlms.ClassData, obisNote, 2, dlms.OctetString([]byte("hello"))), dlms.DataAccessSuccess},
	} {
		if c.got != c.want {
			t.Errorf("want %s, got %s", c.want, c.got)
		}
	}
	if string(b.dev.note) != "hello" {
		t.Errorf("note: %q", b.dev.note)
	}
	if r := p.action(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)); r != dlms.ActionObjectUndefined {
		t.Errorf("breaker by the concentrator: %s", r)
	}
	if r := p.action(dlms.ClassProfileGeneric, obisCurve, 1, dlms.Int8(0)); r != dlms.ActionReadWriteDenied {
		t.Errorf("reset by the concentrator: %s", r)
	}
	if b.dev.breaker != cosem.Connected {
		t.Fatal("the breaker moved")
	}
	if r := is.action(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)); r != dlms.ActionSuccess {
		t.Errorf("breaker by the is: %s", r)
	}
	if b.dev.breaker != cosem.Disconnected {
		t.Error("the breaker did not move")
	}
}

func (p *peer) set(class dlms.ClassID, o dlms.OBIS, attribute int8, v dlms.Data) dlms.DataAccessResult {
	p.t.Helper()
	plain := p.exchange(p.must(apdu.SetRequest{
		Kind: apdu.SetRequestNormal, ID: p.id(), Value: v,
		Attribute: apdu.Attribute{Ref: dlms.AttributeRef{Class: class, Instance: o, Attribute: attribute}},
	}.AppendBinary(nil)))
	r, err := apdu.ParseSetResponse(plain)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.Result
}

func TestNoAssociationReadsTheSecret(t *testing.T) {
	b := newBench(t)
	for _, p := range []*peer{b.concentrator().open(), b.is().open(), b.tester().open()} {
		if r := p.get(dlms.ClassAssociationLN, current, cosem.AttributeSecret); r.Result != dlms.DataAccessReadWriteDenied {
			t.Errorf("secret: %s", r.Result)
		}
		if r := p.action(dlms.ClassAssociationLN, current, 1, dlms.OctetString(make([]byte, 17))); r != dlms.ActionReadWriteDenied {
			t.Errorf("reply_to_HLS on an open association: %s", r)
		}
	}
}

// The xDLMS context would by the standard show the dedicated key.
func TestLaw2NoAttributeOfAnyAssociationShowsAKey(t *testing.T) {
	b := newBench(t)
	for _, p := range []*peer{b.concentrator().open(), b.is().open(), b.tester().open()} {
		for _, o := range objects() {
			for attribute := int8(-2); attribute < 20; attribute++ {
				plain := string(p.exchange(p.getRequest(o.ID().Class, o.ID().Instance, attribute)))
				for _, k := range [][]byte{lanKey(), isKey(), p.dedBytes} {
					if strings.Contains(plain, string(k)) {
						t.Errorf("%s attribute %d shows a key", o.ID(), attribute)
					}
				}
			}
		}
	}
}

func TestTheObjectListHasWhatTheClientMayReach(t *testing.T) {
	b := wideBench(t)
	for p, want := range map[*peer]int{b.concentrator(): 6, b.is(): 9} {
		p.maxPDU = 0 // no bound: everything in one answer
		p.open()
		r := p.get(dlms.ClassAssociationLN, current, 2)
		if r.Result != dlms.DataAccessSuccess || r.Data.Len() != want {
			t.Errorf("want %d objects, got %s, %d", want, r.Result, r.Data.Len())
		}
		for _, e := range r.Data.Elements() {
			class, _ := e.At(0).Uint()
			name, err := e.At(2).LogicalName()
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range e.At(3).At(0).Elements() {
				n, _ := a.At(0).Int()
				mode, _ := a.At(1).Uint()
				got := p.get(dlms.ClassID(class), name, int8(n))
				if mode&1 == 1 && got.Result != dlms.DataAccessSuccess {
					t.Errorf("%d/%s attribute %d: %s", class, name, n, got.Result)
				}
			}
		}
	}
}

func TestTheAssociationTellsWhatWasAgreed(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.maxPDU = 300
	p.open()
	info := p.get(dlms.ClassAssociationLN, current, 5).Data
	received, _ := info.At(1).Uint()
	sent, _ := info.At(2).Uint()
	if received != server.DefaultMaxPDU || sent != 300 || info.At(5).Len() != 0 {
		t.Errorf("context info: %s", info)
	}
	if got := p.get(dlms.ClassAssociationLN, current, 4).Data.Bytes(); got[6] != 3 {
		t.Errorf("application context: % x", got)
	}
	if got := p.get(dlms.ClassAssociationLN, current, 6).Data.Bytes(); got[6] != 5 {
		t.Errorf("mechanism: % x", got)
	}
	if got, err := p.get(dlms.ClassAssociationLN, current, 9).Data.LogicalName(); err != nil || got != setupLAN {
		t.Errorf("security setup: %s, %v", got, err)
	}
	if got, _ := p.get(dlms.ClassAssociationLN, current, 8).Data.Uint(); got != 2 {
		t.Errorf("status: %d", got)
	}
}

func TestAModelThatCannotBeServedSafelyIsRefused(t *testing.T) {
	good := func() server.Client {
		return server.Client{
			Name: "x", SAP: 32, Links: []string{lan}, Mechanism: server.MechanismGMAC, Setup: setupLAN,
			Policy: security.PolicyAuthenticatedEncrypted,
		}
	}
	if _, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: []server.Client{good()}}); err != nil {
		t.Fatal(err)
	}
	right := func(class dlms.ClassID, o dlms.OBIS, a int8) []server.Right {
		return []server.Right{{Class: class, Instance: o, Read: []int8{a}}}
	}
	for name, change := range map[string]func(c *server.Client){
		"reads a secret":          func(c *server.Client) { c.Rights = right(dlms.ClassAssociationLN, current, 7) },
		"right on no object":      func(c *server.Client) { c.Rights = right(dlms.ClassData, dlms.OBIS{1}, 2) },
		"the same right twice":    func(c *server.Client) { c.Rights = slices.Repeat(right(dlms.ClassData, obisName, 2), 2) },
		"no policy":               func(c *server.Client) { c.Policy = security.PolicyNone },
		"an unknown mechanism":    func(c *server.Client) { c.Mechanism = 7 },
		"a password to broadcast": func(c *server.Client) { c.Mechanism, c.Broadcast = server.MechanismLLS, true },
		"two broadcast keys":      func(c *server.Client) { c.Broadcast, c.GlobalBroadcast = true, true },
		"general and dedicated":   func(c *server.Client) { c.GeneralCiphering = true },
		"a broadcast in clear": func(c *server.Client) {
			c.Mechanism, c.Policy, c.GlobalBroadcast = server.MechanismLLS, security.PolicyNone, true
		},
		"a policy and nobody":     func(c *server.Client) { c.Mechanism = server.MechanismNone },
		"no link":                 func(c *server.Client) { c.Links = nil },
		"one link twice":          func(c *server.Client) { c.Links = []string{lan, lan} },
		"all stations":            func(c *server.Client) { c.SAP = dlms.SAPAllStations },
		"no station":              func(c *server.Client) { c.SAP = 0 },
		"a tiny pdu":              func(c *server.Client) { c.MaxPDU = 20 },
		"broadcast and global":    func(c *server.Client) { c.Broadcast, c.Traffic = true, server.DedicatedOrGlobal },
		"a policy of another day": func(c *server.Client) { c.Policy = 9 },
	} {
		c := good()
		change(&c)
		_, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: []server.Client{c}})
		if !errors.Is(err, server.ErrModel) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	twice := append(objects(), objects()[0])
	if _, err := server.NewModel(server.ModelConfig{Objects: twice}); !errors.Is(err, server.ErrModel) {
		t.Errorf("an object twice: got %v", err)
	}
}

// No class of the standard that holds a password lets a right on it into a model.
func TestNoModelShowsAPassword(t *testing.T) {
	for _, c := range []struct {
		class     dlms.ClassID
		attribute int8
	}{{12, 4}, {15, 7}, {19, 7}, {19, 8}, {19, 9}, {23, 10}} {
		o := cosem.NewData(dlms.OBIS{1}, cosem.Constant(dlms.Null()), nil)
		_, err := server.NewModel(server.ModelConfig{
			Objects: []cosem.Object{reclassed{o, c.class}},
			Clients: []server.Client{{
				Name: "x", SAP: 16, Links: []string{lan},
				Rights: []server.Right{{Class: c.class, Instance: dlms.OBIS{1}, Read: []int8{c.attribute}}},
			}},
		})
		if !errors.Is(err, server.ErrModel) {
			t.Errorf("class %d attribute %d: got %v", c.class, c.attribute, err)
		}
	}
}

// reclassed is an object under another class.
type reclassed struct {
	cosem.Object
	class dlms.ClassID
}

func (r reclassed) ID() cosem.ID {
	id := r.Object.ID()
	id.Class = r.class
	return id
}
