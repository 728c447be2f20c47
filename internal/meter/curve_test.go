package meter

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
)

// history makes moves of a clock: each some time after the one before, by so much.
func history(start time.Time, moves ...clockStep) *clockHistory {
	h := new(clockHistory)
	h.add(clockStep{at: momentOf(start)})
	for _, m := range moves {
		h.add(m)
	}
	return h
}

func curveOf(h *clockHistory, until time.Time) view {
	return curve{
		load:      loadcurve.Household(installed().Add(-time.Hour), 1).Copy(loadcurve.Unscaled, 0),
		installed: momentOf(installed()), history: h, until: momentOf(until),
	}.view()
}

func rowsOf(t interface{ Fatalf(string, ...any) }, v view) []curveRow {
	out := make([]curveRow, v.len)
	for i := range out {
		r, ok := v.row(uint32(i))
		if !ok {
			t.Fatalf("row %d of %d is not there", i, v.len)
		}
		out[i] = r
	}
	return out
}

func TestEveryWattHourIsInOneRowHoweverTheClockMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := history(installed())
		at := installed()
		offset := int64(0)
		for range rapid.IntRange(0, 6).Draw(t, "moves") {
			at = at.Add(time.Duration(rapid.Int64Range(0, 20*3600*1000).Draw(t, "after")) * time.Millisecond)
			offset += rapid.Int64Range(-5*3600*1000, 5*3600*1000).Draw(t, "by")
			h.add(clockStep{at: momentOf(at), offset: offset})
		}
		until := at.Add(time.Duration(rapid.Int64Range(0, 3*24*3600).Draw(t, "until")) * time.Second)
		v := curveOf(h, until)
		var sum int64
		for _, r := range rowsOf(t, v) {
			if r.at != r.at.capture() {
				t.Fatalf("a row at %s", r.at.time())
			}
			sum += r.wattHours
		}
		if v.len == 0 {
			return
		}
		last := v.list[0].instant(0)
		for _, s := range v.list {
			if s.rows > 0 {
				last = s.instant(s.rows - 1)
			}
		}
		if want, _ := v.load.Interval(installed(), last.time()); sum != want {
			t.Fatalf("want %d Wh up to %s, got %d", want, last.time(), sum)
		}
		from := momentOf(installed().Add(time.Duration(rapid.Int64Range(-3600, 4*24*3600).Draw(t, "from")) * time.Second))
		first := v.len
		for i, r := range rowsOf(t, v) {
			if r.at >= from {
				first = uint32(i)
				break
			}
		}
		if got := v.find(from); got != first {
			t.Fatalf("find %s: want row %d, got %d of %d", from.time(), first, got, v.len)
		}
	})
}

func TestAClockThatIsPutForwardOverAnEndCapturesOneRowAtOnce(t *testing.T) {
	at := installed().Add(10*time.Hour + 29*time.Minute + 50*time.Second)
	h := history(installed(), clockStep{at: momentOf(at), offset: 20_000})
	rows := rowsOf(t, curveOf(h, installed().Add(12*time.Hour)))
	if len(rows) != 24 {
		t.Fatalf("want 24 rows, got %d", len(rows))
	}
	for i, r := range rows {
		if want := installed().Add(time.Duration(i+1) * capturePeriod); !r.at.time().Equal(want) {
			t.Errorf("row %d: want %s, got %s", i, want, r.at.time())
		}
		if adjusted := r.status&rowAdjusted != 0; adjusted != (i == 20) {
			t.Errorf("row %d: status %02X", i, r.status)
		}
	}
}

func TestAClockThatIsSetFromColdGivesOneFlaggedRowAndThenGoesOn(t *testing.T) {
	lost, set := installed().Add(5*time.Hour+10*time.Minute), installed().Add(9*time.Hour+40*time.Minute)
	cold := int64(momentOf(coldStart()) - momentOf(lost))
	h := history(installed(), clockStep{at: momentOf(lost), offset: cold, cold: true}, clockStep{at: momentOf(set)})
	rows := rowsOf(t, curveOf(h, installed().Add(11*time.Hour)))
	// 10 rows, then 4.5 hours of a clock that began at 2000-01-01 00:00, then one at the setting, under 9:30.
	if len(rows) != 10+9+1+3 {
		t.Fatalf("want 23 rows, got %d", len(rows))
	}
	for i, r := range rows {
		if invalid := r.status&rowInvalid != 0; invalid != (i >= 10 && i < 19) {
			t.Errorf("row %d at %s: status %02X", i, r.at.time(), r.status)
		}
		if invalid := r.at.time().Year() == 2000; invalid != (i >= 10 && i < 19) {
			t.Errorf("row %d at %s", i, r.at.time())
		}
	}
	if r := rows[19]; !r.at.time().Equal(installed().Add(9*time.Hour+30*time.Minute)) || r.status&rowAdjusted == 0 {
		t.Errorf("the row at the setting: %s, status %02X", r.at.time(), r.status)
	}
}

func TestTheLoadCurveKeepsItsNewestRows(t *testing.T) {
	until := installed().Add(curveReach + 10*24*time.Hour)
	v := curveOf(history(installed()), until)
	rows := rowsOf(t, v)
	if uint32(len(rows)) != curveCapacity {
		t.Fatalf("want %d rows, got %d", curveCapacity, len(rows))
	}
	if last := rows[len(rows)-1].at.time(); !last.Equal(until) {
		t.Errorf("want the last row at %s, got %s", until, last)
	}
	if first, want := rows[0], installed().Add(10*24*time.Hour+capturePeriod); !first.at.time().Equal(want) || first.status != 0 {
		t.Errorf("want the first row at %s, got %s, status %02X", want, first.at.time(), first.status)
	}
	if v.find(momentOf(installed())) != 0 {
		t.Error("find does not begin at the rows that are left")
	}
}

func TestAHistoryOfTheClockThatIsCutLosesOldRowsAlone(t *testing.T) {
	h := history(installed())
	at := installed()
	for i := range 3 * maxClockSteps {
		at = at.Add(40 * time.Minute)
		h.add(clockStep{at: momentOf(at), offset: int64(i % 2), counted: 1})
	}
	if len(h.steps) > maxClockSteps || !h.cut {
		t.Fatalf("%d steps are kept", len(h.steps))
	}
	v := curveOf(h, at)
	for i, r := range rowsOf(t, v) {
		if r.at != r.at.capture() {
			t.Fatalf("row %d at %s", i, r.at.time())
		}
		from, missing := v.load.Interval(r.at.time().Add(-capturePeriod), r.at.time())
		if d := r.wattHours - from; missing != 0 || d < -1 || d > 1 {
			t.Fatalf("row %d at %s: %d Wh, want about %d", i, r.at.time(), r.wattHours, from)
		}
	}
}

func TestAMeterInstalledBetweenTwoEndsFlagsItsFirstInterval(t *testing.T) {
	start := installed().Add(10 * time.Minute)
	c := curve{
		load:      loadcurve.Household(installed(), 1).Copy(loadcurve.Unscaled, 0),
		installed: momentOf(start), history: history(start), until: momentOf(start.Add(time.Hour)),
	}
	rows := rowsOf(t, c.view())
	if len(rows) != 2 || rows[0].status != rowShort || rows[1].status != 0 {
		t.Fatalf("want two rows, the first one short, got %v", rows)
	}
	if none := (curve{load: c.load, installed: c.installed, history: c.history, until: momentOf(installed())}).view(); none.len != 0 {
		t.Errorf("%d rows before the installation", none.len)
	}
}

func TestTheFullestStateFitsOneFrame(t *testing.T) {
	r := newRig(t, ProfileHardened)
	s := &r.meter.state
	for i := len(s.prints); i < maxPrints; i++ {
		s.remember(key.Fingerprint{byte(i), byte(i >> 8), 1})
	}
	for i := range 2 * maxClockSteps {
		s.clock.add(clockStep{at: momentOf(installed().Add(time.Duration(i) * time.Second)), counted: 1})
	}
	for n := logMain; n <= logCount; n++ {
		for range 2 * logCapacity {
			s.logs[n-1].add(logEntry{log: n, code: 1})
		}
	}
	b := s.snapshot()
	if len(b) > nvm.MaxFrame {
		t.Errorf("want at most %d bytes, got %d", nvm.MaxFrame, len(b))
	}
	if err := new(state).apply(b); err != nil {
		t.Error(err)
	}
	r.open(readWrite)
}
