package cosem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

var _ cosem.Caller = (*client.Association)(nil)

var (
	clientTitle = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	meterTitle  = dlms.SystemTitle{'M', 'T', 'R', 0, 0, 0, 0, 2}
	setupName   = dlms.OBIS{0, 0, 43, 0, 1, 255}
)

func source(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// plant is a real server with a device, and what a real client needs to associate with it.
type plant struct {
	t      testing.TB
	server *server.Server
	meter  security.LongTerm
	client security.LongTerm
	lines  byte
}

func (p *plant) SystemTitle() dlms.SystemTitle                  { return meterTitle }
func (p *plant) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return &p.meter, nil }
func (p *plant) Event(server.Event)                             {}

func newPlant(t testing.TB, maxPDU uint16, objects ...cosem.Object) *plant {
	t.Helper()
	p := &plant{t: t}
	k, err := key.GenerateUnicast(source(1))
	must(t, err)
	p.meter, p.client = half(t, k), half(t, k)
	objects = append(objects, cosem.NewAssociation())
	var rights []server.Right
	for _, o := range objects {
		r := server.Right{Class: o.ID().Class, Instance: o.ID().Instance}
		for n := int8(1); n <= cosem.Attributes(r.Class); n++ {
			if r.Class == dlms.ClassAssociationLN && (n == cosem.AttributeSecret || n > 9) || r.Class == 64 && n > 5 || r.Class == 40 && n > 7 {
				continue
			}
			r.Read, r.Write = append(r.Read, n), append(r.Write, n)
		}
		if r.Class != dlms.ClassAssociationLN {
			r.Invoke = []int8{1, 2, 3, 4, 5, 6}
		}
		rights = append(rights, r)
	}
	model, err := server.NewModel(server.ModelConfig{Objects: objects, Clients: []server.Client{{
		Name: "reader", SAP: 32, Links: []string{"lan"}, Mechanism: server.MechanismGMAC, Setup: setupName,
		Policy: security.PolicyAuthenticatedEncrypted, MaxPDU: maxPDU, Rights: rights,
	}}})
	must(t, err)
	p.server = server.New(model, p, &server.Options{Rand: source(2), Now: func() time.Time { return noon }})
	return p
}

func half(t testing.TB, k key.Unicast) security.LongTerm {
	t.Helper()
	aead, err := k.AEAD()
	must(t, err)
	c, err := security.NewCipher(aead, key.Authentication{})
	must(t, err)
	floor, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	must(t, err)
	return security.LongTerm{Cipher: c, Send: security.NewMemoryCounter(), Floor: floor}
}

// line carries APDUs to the server, until it breaks.
type line struct {
	server *server.Server
	sends  int
	cut    int // the send before which it breaks, counted from 1; 0 for never
	queue  [][]byte
}

func (l *line) Send(ctx context.Context, b []byte) error {
	if l.sends++; l.cut > 0 && l.sends >= l.cut {
		return errLine
	}
	if out := l.server.Handle(ctx, "lan", link.Request{Client: 32, Server: 1, APDU: bytes.Clone(b)}); out != nil {
		l.queue = append(l.queue, out)
	}
	return nil
}

func (l *line) Receive(context.Context) ([]byte, error) {
	if len(l.queue) == 0 {
		return nil, errLine
	}
	b := l.queue[0]
	l.queue = l.queue[1:]
	return b, nil
}

func (l *line) Close() error { return nil }

// dial associates over a new line.
func (p *plant) dial(cut int) (*client.Association, *line, error) {
	p.lines++
	l := &line{server: p.server, cut: cut}
	cfg := client.Linky(clientTitle, meterTitle, p.client, source(10+p.lines))
	cfg.Conformance = client.DefaultConformance | apdu.ConformanceBlockTransferAction
	a, err := client.Open(ctx, l, cfg)
	return a, l, err
}

// An image goes to a meter over ciphered associations, the line of the first of which breaks in the middle: the
// second one asks for the bitmap and sends what is missing.
func TestAnImageTransferOverRealEndsIsResumedAfterACut(t *testing.T) {
	for name, c := range map[string]struct {
		block  uint32
		maxPDU uint16
	}{
		"a block in an APDU":     {128, 512},
		"a block in three APDUs": {500, 239},
	} {
		t.Run(name, func(t *testing.T) {
			fw := firmware(6000)
			d := newTaker(fw)
			p := newPlant(t, c.maxPDU, d.object(c.block))
			first, l, err := p.dial(0)
			must(t, err)
			l.cut = l.sends + 25
			var second *line
			var resumedAt uint32
			highest, redials := uint32(0), 0
			o := cosem.ImageOptions{
				Progress: func(done, total uint32) {
					if redials == 1 && resumedAt == 0 {
						resumedAt = done
					}
					highest = max(highest, done)
				},
				Redial: func(_ context.Context, attempt int, why error) (cosem.Caller, error) {
					if attempt > 1 {
						return nil, errors.New("the new line broke too")
					}
					redials++
					a, l, err := p.dial(0)
					second = l
					return a, err
				},
			}
			must(t, cosem.ImageTransferAt(first, imageName).Transfer(ctx, imageOf(fw), o))
			if redials != 1 || resumedAt == 0 || resumedAt >= highest {
				t.Errorf("%d new lines, resumed at block %d of %d", redials, resumedAt, highest)
			}
			if second.sends >= l.sends+int(highest)*5 {
				t.Errorf("the second line took %d sends", second.sends)
			}
			last, _, err := p.dial(0)
			must(t, err)
			r := cosem.ImageTransferAt(last, imageName)
			must(t, r.Verify(ctx, cosem.ImageOptions{}))
			must(t, r.Activate(ctx, cosem.ImageOptions{}))
			if !bytes.Equal(d.used, fw) {
				t.Error("another image arrived")
			}
		})
	}
}

// everything returns an object of each class.
func everything(t testing.TB) []cosem.Object {
	demand := newDemand(t, 15*time.Minute, 1)
	limiter, err := cosem.NewLimiterEngine(cosem.LimiterEngineConfig{Setup: limiterSetup()})
	must(t, err)
	breaker, err := cosem.NewBreaker(cosem.BreakerConfig{Mode: 3, State: cosem.Connected})
	must(t, err)
	state := cosem.CalendarState{Active: calendar(), ActivateAt: dlms.DateTimeUnspecified()}
	hdlc, tcp, push := cosem.DefaultHDLCSetup(), cosem.DefaultTCPUDPSetup(), pushSetup()
	saps := []cosem.SAPItem{{SAP: 1, Name: []byte("MTR0000000000002")}}
	piece := &timepiece{zone: -60, rule: cosem.EuropeanDaylight(-60)}
	clock := piece.object(clockColumn.Instance)
	register := cosem.NewRegister(valueColumn.Instance, cosem.Constant(dlms.Uint32(6001)), -1, cosem.UnitWatt)
	buffer, err := cosem.NewProfileBuffer(shape(cosem.SortFIFO, 10), cosem.NewObjectSet(clock, register))
	must(t, err)
	return []cosem.Object{
		cosem.NewData(dlms.OBIS{0, 0, 42, 0, 0, 255}, cosem.Constant(dlms.OctetString([]byte("MTR"))), nil), clock, register,
		cosem.NewExtendedRegister(cosem.RegisterConfig{Instance: dlms.OBIS{1, 0, 1, 6, 0, 255}, Value: cosem.Constant(dlms.Uint32(1))}),
		cosem.NewDemandRegister(cosem.DemandRegisterConfig{
			Instance: dlms.OBIS{1, 0, 1, 4, 0, 255}, Configurable: true,
			Demand: func(*cosem.Env) (*cosem.Demand, error) { return demand, nil },
		}),
		cosem.NewBufferedProfile(cosem.BufferedProfileConfig{
			Instance: curveName, Buffer: func(*cosem.Env) (*cosem.ProfileBuffer, error) { return buffer, nil },
		}),
		cosem.NewSAPAssignment(cosem.SAPAssignmentConfig{Instance: dlms.OBIS{0, 0, 41, 0, 0, 255}, List: kept(&saps)}),
		newTaker(nil).object(128),
		cosem.NewActivityCalendar(calendarName, kept(&state)),
		cosem.NewHDLCSetup(dlms.OBIS{0, 0, 22, 0, 0, 255}, kept(&hdlc)),
		cosem.NewPushSetup(cosem.PushSetupConfig{Instance: pushName, Setup: kept(&push)}),
		cosem.NewTCPUDPSetup(dlms.OBIS{0, 0, 25, 0, 0, 255}, kept(&tcp)),
		cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
			Instance: setupName, Policy: 3,
			ServerTitle: func(*cosem.Env) (dlms.SystemTitle, error) { return meterTitle, nil },
		}),
		cosem.NewBreakerControl(dlms.OBIS{0, 0, 96, 3, 10, 255}, func(*cosem.Env) (*cosem.Breaker, error) { return breaker, nil }),
		cosem.NewLimiter(dlms.OBIS{0, 0, 17, 0, 0, 255}, func(*cosem.Env) (*cosem.LimiterEngine, error) { return limiter, nil }, nil),
	}
}

// A client finds all sixteen classes in the object list of a real meter, reads each through its typed proxy, and every
// one of their attributes by its name in the catalogue.
func TestEveryClassIsReadOverRealEnds(t *testing.T) {
	p := newPlant(t, 512, everything(t)...)
	a, _, err := p.dial(0)
	must(t, err)
	list := got(cosem.AssociationAt(a, cosem.CurrentAssociation()).ObjectList(ctx))(t)
	classes := map[dlms.ClassID]bool{}
	for _, e := range list {
		classes[e.ID.Class] = true
		if name := cosem.Describe(e.ID.Class, e.ID.Instance); name == "" || name == cosem.ClassName(e.ID.Class) {
			t.Errorf("%s has no name", e.ID)
		}
		for _, access := range e.Attributes {
			ref := dlms.AttributeRef{Class: e.ID.Class, Instance: e.ID.Instance, Attribute: access.Attribute}
			if _, err := a.Get(ctx, ref); err != nil {
				t.Errorf("%s, %s: %v", ref, cosem.AttributeName(ref.Class, ref.Attribute), err)
			}
			if name := cosem.AttributeName(ref.Class, ref.Attribute); name == fmt.Sprintf("attribute %d", ref.Attribute) {
				t.Errorf("%s has no name", ref)
			}
		}
	}
	if len(classes) != 16 {
		t.Errorf("%d classes: %v", len(classes), classes)
	}
	for name, read := range map[string]func() error{
		"demand":   func() error { _, err := cosem.DemandRegisterAt(a, dlms.OBIS{1, 0, 1, 4, 0, 255}).Read(ctx); return err },
		"calendar": func() error { _, err := cosem.ActivityCalendarAt(a, calendarName).Read(ctx); return err },
		"limiter":  func() error { _, err := cosem.LimiterAt(a, dlms.OBIS{0, 0, 17, 0, 0, 255}).Read(ctx); return err },
		"push":     func() error { _, err := cosem.PushSetupAt(a, pushName).Read(ctx); return err },
		"hdlc":     func() error { _, err := cosem.HDLCSetupAt(a, dlms.OBIS{0, 0, 22, 0, 0, 255}).Read(ctx); return err },
		"tcp":      func() error { _, err := cosem.TCPUDPSetupAt(a, dlms.OBIS{0, 0, 25, 0, 0, 255}).Read(ctx); return err },
		"profile":  func() error { _, err := cosem.ProfileAt(a, curveName).Shape(ctx); return err },
		"extended": func() error {
			_, err := cosem.ExtendedRegisterAt(a, dlms.OBIS{1, 0, 1, 6, 0, 255}).ReadAll(ctx)
			return err
		},
	} {
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	profile := cosem.ProfileAt(a, curveName)
	must(t, profile.Capture(ctx))
	rows := got(profile.RowsByEntry(ctx, apdu.EntryDescriptor{FromEntry: 1, FromColumn: 2}))(t)
	if len(rows) != 1 || !rows[0][0].Equal(dlms.Uint32(6001)) {
		t.Errorf("rows: %v", rows)
	}
	must(t, cosem.DisconnectControlAt(a, dlms.OBIS{0, 0, 96, 3, 10, 255}).Disconnect(ctx))
	if s := got(cosem.DisconnectControlAt(a, dlms.OBIS{0, 0, 96, 3, 10, 255}).State(ctx))(t); s != cosem.Disconnected {
		t.Errorf("breaker: %s", s)
	}
	refused(t, cosem.PushSetupAt(a, pushName).Push(ctx), dlms.ActionReadWriteDenied)
	must(t, a.Release(ctx))
}
