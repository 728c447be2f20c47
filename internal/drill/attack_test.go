package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

func TestAMeterRefusesEveryAttackAndTheHonestEndsComeBack(t *testing.T) {
	for _, profile := range []string{shipment.ProfileLinky, shipment.ProfileHardened} {
		t.Run(profile, func(t *testing.T) {
			s := newScene(t, profile)
			began := time.Now()
			r := s.attack(t)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the attack took %s", took)
			}
			if len(r.Accepted) > 0 {
				t.Errorf("accepted: %q", r.Accepted)
			}
			for what, n := range map[string]int{
				"old keys": r.OldKey, "replayed associations": r.ReplayedAssociation, "replayed apdus": r.ReplayedAPDU,
				"replayed keys": r.ReplayedKey, "keys sideways": r.KeySideways,
				"traffic under a long-term key": r.TrafficUnderAssociationKey, "key reads": r.KeyRead,
			} {
				if n < 2 {
					t.Errorf("%s: want some refusals, got %d", what, n)
				}
			}
			s.honest.read(s.honest.open(role.SAPReadWrite))
			for r, k := range s.honest.keys {
				if check, generation := s.meter.Held(r); check != k.CheckValue() || generation != 3 {
					t.Errorf("%s: want %s of generation 3, got %s of %d", r, k.CheckValue(), check, generation)
				}
			}
			t.Logf("%+v", r)
		})
	}
}

func TestDeriveReadsEveryLaterKeyFromTheFirstOnesAndTheRecording(t *testing.T) {
	for _, profile := range []string{shipment.ProfileLinky, shipment.ProfileHardened} {
		s := newScene(t, profile)
		keys, blobs, err := Derive(s.target.Row, s.target.Frames)
		if err != nil {
			t.Fatal(err)
		}
		for r, want := range s.honest.keys {
			if got := keys[r]; len(got) != 3 || !got[2].Equal(want) {
				t.Errorf("%s: %s: want three keys with the one in force last, got %v", profile, r, got)
			}
		}
		if want := 2 * len(s.honest.keys); len(blobs) != want {
			t.Errorf("%s: want %d wrapped keys, got %d", profile, want, len(blobs))
		}
		other := must(shipment.Generate(rand.Reader, "MSL", 1, profile, 2))[0]
		keys, blobs, err = Derive(other, s.target.Frames)
		if err != nil || len(blobs) != 0 || len(keys[role.CCLAN]) != 1 {
			t.Errorf("%s: the row of another meter opens the recording: %v, %d wrapped keys, %v", profile, keys, len(blobs), err)
		}
	}
	if _, _, err := Derive(shipment.Meter{}, nil); !errors.Is(err, ErrRow) {
		t.Errorf("no row: want ErrRow, got %v", err)
	}
}

func TestAttackSeesAMeterThatTakesReplays(t *testing.T) {
	s := newScene(t, shipment.ProfileHardened)
	s.target.LAN = serve(t, func(ctx context.Context, r link.Request) []byte {
		for i, f := range s.target.Frames {
			if f.ToMeter && f.Client == r.Client && bytes.Equal(f.APDU, r.APDU) {
				return s.target.Frames[i+1].APDU
			}
		}
		return s.meter.Server().Handle(ctx, meter.LinkLAN, r)
	})
	r := s.attack(t)
	wantAccepted(t, r, "recorded aarq of client 32", "recorded aarq of client 48", "recorded aarq of client 64",
		"recorded ded-get-request of client 32", "recorded ded-action-request of client 64")
	if r.ReplayedAssociation != 0 || r.ReplayedAPDU != 0 || r.OldKey == 0 {
		t.Errorf("want no replay refused and the rest as ever, got %+v", r)
	}
}

func TestAttackSeesAMeterThatKeepsTheOldKeys(t *testing.T) {
	s := newScene(t, shipment.ProfileHardened)
	stale := s.cfg
	stale.Data = t.TempDir()
	old := serveMeter(t, stale).Meters()[0] // the same meter as it left the factory
	var fallen atomic.Int64
	toOld := counting(&fallen, func(ctx context.Context, r link.Request) []byte {
		return old.Server().Handle(ctx, meter.LinkLAN, r)
	})
	s.target.LAN = serve(t, func(ctx context.Context, r link.Request) []byte {
		if answer := s.meter.Server().Handle(ctx, meter.LinkLAN, r); !refused(answer) {
			return answer
		}
		return toOld(ctx, r)
	})
	r := s.attack(t)
	wantAccepted(t, r, "CC_LAN (number 1 of 3) as client 32, superseded", "CC_IS (number 1 of 3) as client 64, superseded")
	if fallen.Load() == 0 {
		t.Error("the old meter was never asked")
	}
}

// holey is a meter that does everything wrong once careless is set: it takes every wrapped key, serves under the
// long-term key, and shows CC_LAN.
type holey struct {
	row      shipment.Meter
	keys     map[role.Role]key.Unicast
	long     map[key.Fingerprint]*security.LongTerm
	number   map[role.Role]uint32
	careless bool
	liar     bool
	shows    func() []byte
	server   *server.Server
}

func (h *holey) SystemTitle() dlms.SystemTitle { return h.row.Title }
func (h *holey) Event(server.Event)            {}

func (h *holey) LongTerm(setup dlms.OBIS) (*security.LongTerm, error) {
	r, ok := roleOf(setup)
	if !ok {
		return nil, server.ErrNoKey
	}
	k := h.keys[r]
	if lt := h.long[k.Fingerprint()]; lt != nil {
		return lt, nil
	}
	h.number[r]++
	lt := &security.LongTerm{
		Cipher: must(security.NewCipher(must(k.AEAD()), key.Authentication{})), Send: security.NewMemoryCounter(),
		Floor:      must(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})),
		Generation: h.number[r],
	}
	h.long[k.Fingerprint()] = lt
	return lt, nil
}

func (h *holey) transfer(_ *cosem.Env, setup dlms.OBIS, _ uint8, wrapped []byte) error {
	r, _ := roleOf(setup)
	k, err := h.row.CCC.UnwrapUnicast(wrapped)
	if h.liar && r != role.CCLOCALE {
		return dlms.ActionOtherReason
	}
	if err != nil || h.careless {
		return err
	}
	h.keys[r] = k
	if h.liar {
		return dlms.ActionOtherReason
	}
	return nil
}

// asClock passes an object off as a clock.
type asClock struct{ cosem.Object }

func (o asClock) ID() cosem.ID {
	return cosem.ID{Class: dlms.ClassClock, Instance: o.Object.ID().Instance}
}

func reading(class dlms.ClassID, instance dlms.OBIS) server.Right {
	return server.Right{Class: class, Instance: instance, Read: []int8{1, 2}}
}

func newHoley(t *testing.T, row shipment.Meter) *holey {
	t.Helper()
	h := &holey{row: row, long: map[key.Fingerprint]*security.LongTerm{}, number: map[role.Role]uint32{}}
	h.keys = map[role.Role]key.Unicast{role.CCLAN: row.LAN, role.CCLOCALE: row.Locale}
	leak := dlms.OBIS{0, 0, 96, 1, 0, 255}
	data := func(at dlms.OBIS, value func() dlms.Data) cosem.Object {
		return cosem.NewData(at, func(*cosem.Env) (dlms.Data, error) { return value(), nil }, nil)
	}
	objects := []cosem.Object{
		cosem.NewAssociation(),
		data(leak, func() dlms.Data { return dlms.Structure(dlms.Uint8(1), dlms.OctetString(h.shows())) }),
	}
	rights := []server.Right{reading(dlms.ClassAssociationLN, cosem.CurrentAssociation()), reading(dlms.ClassData, leak)}
	for _, r := range []role.Role{role.CCLAN, role.CCLOCALE} {
		setup, _ := r.Setup()
		check, _ := r.CheckValueObject()
		objects = append(objects, cosem.NewSecuritySetup(cosem.SecuritySetupConfig{Instance: setup, KeyTransfer: h.transfer}),
			data(check, func() dlms.Data { v := h.keys[r].CheckValue(); return dlms.OctetString(v[:]) }))
		right := reading(dlms.ClassSecuritySetup, setup)
		right.Invoke = []int8{cosem.MethodKeyTransfer}
		rights = append(rights, right, reading(dlms.ClassData, check))
	}
	clock := clockTime().Instance
	objects = append(objects, asClock{data(clock, dlms.Null)})
	rights = append(rights, reading(dlms.ClassClock, clock))
	lan, _ := role.CCLAN.Setup()
	model, err := server.NewModel(server.ModelConfig{Objects: objects, Clients: []server.Client{
		{Name: "public", SAP: dlms.SAPPublic, Links: []string{meter.LinkLAN}, Rights: rights[:1]},
		{
			Name: "readwrite", SAP: role.SAPReadWrite, Links: []string{meter.LinkLAN}, Mechanism: server.MechanismGMAC,
			Setup: lan, Policy: security.PolicyAuthenticated, Traffic: server.DedicatedOrGlobal, GeneralForms: true,
			Rights: rights,
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.server = server.New(model, h, nil)
	return h
}

func TestAttackSeesAMeterThatTakesKeysServesUnderLongTermKeysAndShowsThem(t *testing.T) {
	row := must(shipment.Generate(rand.Reader, "MSL", 1, shipment.ProfileLinky, 1))[0]
	var secret []byte
	h := newHoley(t, row)
	h.shows = func() []byte { return secret }
	at := serve(t, func(ctx context.Context, r link.Request) []byte { return h.server.Handle(ctx, meter.LinkLAN, r) })
	tp := tap(t, at, nil)
	hon := newHonest(t, row, tp.Addr())
	hon.rekey()
	a := hon.open(role.SAPReadWrite)
	h.careless, secret = true, key.Reveal(h.keys[role.CCLAN])
	if err := a.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	target := Target{Row: row, LAN: at, Profile: shipment.ProfileLinky, Frames: tp.Frames()}
	for _, form := range []func([]byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { return fmt.Appendf(nil, "%x", b) },
	} {
		plain := key.Reveal(h.keys[role.CCLAN])
		secret = form(plain)
		r, err := Attack(context.Background(), target, Deps{Rand: rand.Reader, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, r, "a recorded wrapped CC_LAN again", "a recorded wrapped CC_LAN as CC_LOCALE",
			"the maker's first CC_LAN", "under key id 3", "a glo-get-request under the long-term key",
			"a general-glo-ciphering under the long-term key", "it shows CC_LAN (number 2 of 2)")
		for _, w := range r.Accepted {
			if bytes.Contains([]byte(w), plain) || bytes.Contains([]byte(w), fmt.Appendf(nil, "%x", plain)) {
				t.Error("the result shows a key")
			}
		}
	}
}

func TestAttackSeesAKeyThatChangedWhateverTheMeterAnswered(t *testing.T) {
	row := must(shipment.Generate(rand.Reader, "MSL", 1, shipment.ProfileLinky, 1))[0]
	h := newHoley(t, row)
	h.shows, h.liar = func() []byte { return nil }, true
	at := serve(t, func(ctx context.Context, r link.Request) []byte { return h.server.Handle(ctx, meter.LinkLAN, r) })
	r, err := Attack(context.Background(), Target{Row: row, LAN: at, Profile: shipment.ProfileLinky},
		Deps{Rand: rand.Reader, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, r, "a transfer changed CC_LOCALE")
	if len(r.Accepted) != 3 { // and the two forms of traffic, which this meter serves
		t.Errorf("want what the check values tell and the traffic, got %q", r.Accepted)
	}
}

func TestAnHonestEndThatComesBackInTheMiddleMakesNoRefusalOfItsOwn(t *testing.T) {
	want := newScene(t, shipment.ProfileLinky).attack(t)
	s := newScene(t, shipment.ProfileLinky)
	var n atomic.Int64
	busy := false
	s.target.LAN = serve(t, func(ctx context.Context, r link.Request) []byte {
		if r.Client == role.SAPReadWrite && n.Add(1)%120 == 0 && !busy {
			busy = true
			s.honest.open(role.SAPReadWrite)
			busy = false
		}
		return s.meter.Server().Handle(ctx, meter.LinkLAN, r)
	})
	got := s.attack(t)
	if n.Load() < 360 {
		t.Fatalf("the attack made %d requests: that is no test", n.Load())
	}
	if len(got.Accepted) > 0 || got.KeyRead != want.KeyRead || got.ReplayedKey != want.ReplayedKey ||
		got.KeySideways != want.KeySideways || got.TrafficUnderAssociationKey != want.TrafficUnderAssociationKey {
		t.Errorf("undisturbed %+v\ndisturbed %+v", want, got)
	}
}

func TestAttackWithoutAMeterIsAnErrorAndNoRefusal(t *testing.T) {
	row := must(shipment.Generate(rand.Reader, "MSL", 1, shipment.ProfileLinky, 1))[0]
	silent := serve(t, func(context.Context, link.Request) []byte { return nil })
	for what, target := range map[string]Target{
		"nobody":     {Row: row, LAN: "127.0.0.1:1", Profile: shipment.ProfileLinky},
		"silence":    {Row: row, LAN: silent, Profile: shipment.ProfileLinky},
		"no profile": {Row: row, LAN: silent, Profile: "other"},
	} {
		r, err := Attack(context.Background(), target, Deps{Rand: rand.Reader, Now: time.Now})
		if err == nil || r.OldKey != 0 || r.KeyRead != 0 {
			t.Errorf("%s: want an error, got %+v, %v", what, r, err)
		}
	}
}

func TestOnlyRefusalsInClearAndSilenceAreRefusals(t *testing.T) {
	accepted := must(apdu.AARE{Context: apdu.ContextLN, UserInformation: []byte{0x08}}.AppendBinary(nil))
	rejected := must(apdu.AARE{
		Context: apdu.ContextLN, Result: apdu.AssociationRejectedPermanent, Diagnostic: apdu.DiagnosticNoReason,
	}.AppendBinary(nil))
	for _, b := range [][]byte{nil, {0xD8, 1, 1}, {0xD8, 1, 6, 0, 0, 0, 9}, {0x0E, 1, 6, 1}, rejected} {
		if !refused(b) {
			t.Errorf("%X: want a refusal", b)
		}
	}
	for _, b := range [][]byte{accepted, {0xC4, 1, 1, 1, 3}, {0xD4, 5, 0x30, 0, 0, 0, 1}, {0xCC}, {0xDB}, {0x61}} {
		if refused(b) {
			t.Errorf("%X: want no refusal", b)
		}
	}
}
