package cosem_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func limiterSetup() cosem.LimiterSetup {
	scripts := dlms.OBIS{0, 0, 10, 0, 106, 255}
	return cosem.LimiterSetup{
		Monitored: cosem.ValueDefinition{AttributeRef: dlms.AttributeRef{Class: 3, Instance: dlms.OBIS{1, 0, 1, 7, 0, 255}, Attribute: 2}},
		Normal:    dlms.Uint32(6000), Emergency: dlms.Uint32(1000), MinOver: 10, MinUnder: 30,
		Profile: cosem.EmergencyProfile{ID: 7, Activation: dlms.DateTimeOf(noon.Add(time.Hour), 0), Duration: 600},
		Groups:  []uint16{3, 7},
		Actions: cosem.LimiterActions{Over: cosem.ScriptRef{Table: scripts, Selector: 1}, Under: cosem.ScriptRef{Table: scripts, Selector: 2}},
	}
}

// story runs a limiter over values given second by second, and returns what it did and when.
type story struct {
	t      *testing.T
	engine *cosem.LimiterEngine
	now    time.Time
	told   []string
}

func newStory(t *testing.T, change func(*cosem.LimiterSetup)) *story {
	setup := limiterSetup()
	if change != nil {
		change(&setup)
	}
	s := &story{t: t, now: noon}
	e, err := cosem.NewLimiterEngine(cosem.LimiterEngineConfig{Setup: setup, Act: func(script cosem.ScriptRef, over bool) {
		s.told = append(s.told, fmt.Sprintf("%d:%d:%t", s.now.Sub(noon)/time.Second, script.Selector, over))
	}})
	must(t, err)
	s.engine = e
	return s
}

func (s *story) hold(value uint32, seconds int) *story {
	s.t.Helper()
	for range seconds {
		must(s.t, s.engine.Observe(s.now, dlms.Uint32(value)))
		s.now = s.now.Add(time.Second)
	}
	return s
}

func (s *story) want(told ...string) {
	s.t.Helper()
	if got := strings.Join(s.told, " "); got != strings.Join(told, " ") {
		s.t.Errorf("want %v, got %s", told, got)
	}
}

func TestALimiterActsOnceAndAfterItsDurations(t *testing.T) {
	newStory(t, nil).hold(6001, 10).want()
	newStory(t, nil).hold(6001, 11).want("10:1:true")
	newStory(t, nil).hold(6001, 100).want("10:1:true")
	newStory(t, nil).hold(6000, 100).want() // at the threshold is not over it
	newStory(t, nil).hold(6001, 9).hold(6000, 1).hold(6001, 9).want()
	newStory(t, nil).hold(6001, 20).hold(6000, 30).want("10:1:true")
	newStory(t, nil).hold(6001, 20).hold(6000, 31).want("10:1:true", "50:2:false")
	newStory(t, nil).hold(6001, 20).hold(5, 29).hold(6001, 1).hold(5, 30).want("10:1:true")
	at := newStory(t, func(s *cosem.LimiterSetup) { s.MinOver, s.MinUnder = 0, 0 })
	at.hold(6001, 2).hold(1, 2).hold(6001, 1).want("0:1:true", "2:2:false", "4:1:true")
}

func TestAnEmergencyProfileLowersTheThresholdForItsTime(t *testing.T) {
	s := newStory(t, nil)
	s.hold(2000, 3600+9).want()
	s.hold(2000, 2).want("3610:1:true")
	s.hold(2000, 589)
	if !s.engine.Setup(s.now.Add(-time.Second)).EmergencyActive || s.engine.Setup(s.now).EmergencyActive {
		t.Error("the emergency does not end after its duration")
	}
	s.hold(2000, 31).want("3610:1:true", "4230:2:false")
	stranger := newStory(t, func(s *cosem.LimiterSetup) { s.Profile.ID = 8 })
	stranger.hold(2000, 4000).want()
	never := newStory(t, func(s *cosem.LimiterSetup) { s.Profile.Activation = dlms.DateTimeUnspecified() })
	never.hold(2000, 4000).want()
}

func TestALimiterWithAClockThatIsSetBackWaitsAgain(t *testing.T) {
	s := newStory(t, nil).hold(6001, 9)
	s.now = noon.Add(-time.Hour)
	s.hold(6001, 10).want()
	s.hold(6001, 1).want("-3590:1:true")
}

func TestALimiterRefusesWhatIsNoNumber(t *testing.T) {
	s := newStory(t, nil)
	if err := s.engine.Observe(noon, dlms.OctetString([]byte("6001"))); err == nil {
		t.Error("an octet-string was compared")
	}
	must(t, s.engine.Observe(noon, dlms.Float64(6000.5)))
	must(t, s.engine.Observe(noon.Add(time.Minute), dlms.Float64(6000.5)))
	if !s.engine.Over() {
		t.Error("6000.5 is not over 6000")
	}
	bad := limiterSetup()
	bad.Normal = dlms.Null()
	_, err := cosem.NewLimiterEngine(cosem.LimiterEngineConfig{Setup: bad})
	refused(t, err, cosem.ErrValue)
}

func TestALimiterIsWorkedFromAfar(t *testing.T) {
	var saved cosem.LimiterSetup
	e, err := cosem.NewLimiterEngine(cosem.LimiterEngineConfig{
		Setup: limiterSetup(), Save: func(s cosem.LimiterSetup) error { saved = s; return nil },
	})
	must(t, err)
	o := dlms.OBIS{0, 0, 17, 0, 0, 255}
	line := reach(t, cosem.NewLimiter(o, func(*cosem.Env) (*cosem.LimiterEngine, error) { return e, nil }, nil))
	line.env.Now = noon
	r := cosem.LimiterAt(line, o)
	want := limiterSetup()
	want.Active = want.Normal
	equal := cmp.Comparer(dlms.Data.Equal)
	if diff := cmp.Diff(want, got(r.Read(ctx))(t), equal); diff != "" {
		t.Error(diff)
	}
	line.env.Now = noon.Add(65 * time.Minute)
	if v := got(r.Read(ctx))(t); !v.EmergencyActive || !v.Active.Equal(want.Emergency) {
		t.Errorf("in the emergency: %+v", v)
	}
	next := limiterSetup()
	next.Normal, next.MinOver, next.Groups = dlms.Uint32(9000), 1, []uint16{1}
	next.Profile.ID, next.Actions.Over.Selector = 9, 5
	for _, n := range []int8{2, 4, 5, 6, 7, 8, 9, 11} {
		must(t, r.Write(ctx, n, next))
	}
	if diff := cmp.Diff(next, saved, equal); diff != "" {
		t.Error(diff)
	}
	refused(t, r.Write(ctx, 3, next), cosem.ErrValue)
	refused(t, r.Write(ctx, 10, next), cosem.ErrValue)
	object := cosem.NewLimiter(o, func(*cosem.Env) (*cosem.LimiterEngine, error) { return e, nil }, nil)
	refused(t, object.Set(&line.env, 3, dlms.Uint32(1)), dlms.DataAccessReadWriteDenied)
	refused(t, object.Set(&line.env, 4, dlms.Null()), dlms.DataAccessScopeViolated)
	next.Groups = make([]uint16, 65)
	refused(t, r.Write(ctx, 9, next), dlms.DataAccessScopeViolated)
}

func scriptRefs() *rapid.Generator[cosem.ScriptRef] {
	return rapid.Custom(func(t *rapid.T) cosem.ScriptRef {
		return cosem.ScriptRef{Table: anyOBIS.Draw(t, "table"), Selector: rapid.Uint16().Draw(t, "selector")}
	})
}

func TestTheValuesOfALimiterReadBackAsWritten(t *testing.T) {
	travels(t, scriptRefs(), cosem.ParseScriptRef)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.LimiterActions {
		return cosem.LimiterActions{Over: scriptRefs().Draw(t, "over"), Under: scriptRefs().Draw(t, "under")}
	}), cosem.ParseLimiterActions)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.EmergencyProfile {
		return cosem.EmergencyProfile{ID: rapid.Uint16().Draw(t, "id"), Activation: anyTime.Draw(t, "at"), Duration: rapid.Uint32().Draw(t, "for")}
	}), cosem.ParseEmergencyProfile)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ValueDefinition {
		return cosem.ValueDefinition{AttributeRef: dlms.AttributeRef{
			Class: anyClass.Draw(t, "class"), Instance: anyOBIS.Draw(t, "obis"), Attribute: rapid.Int8().Draw(t, "attribute"),
		}}
	}), cosem.ParseValueDefinition)
}

func FuzzLimiter(f *testing.F) {
	s := limiterSetup()
	fuzz(f, []value{s.Profile, s.Actions, s.Actions.Over, s.Monitored}, parses(cosem.ParseEmergencyProfile),
		parses(cosem.ParseLimiterActions), parses(cosem.ParseScriptRef), parses(cosem.ParseValueDefinition))
}
