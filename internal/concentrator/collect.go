package concentrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/internal/bus"
)

// Objects that are collected (docs: OBIS table of the published meters).
var (
	loadCurve   = dlms.OBIS{1, 1, 99, 1, 0, 255}
	importIndex = dlms.OBIS{1, 1, 1, 8, 0, 255}
)

const (
	day = 24 * time.Hour
	// unitWh is the unit code of active energy (BB 4.3.2).
	unitWh = 30
	// maxScaler bounds the power of ten of a register.
	maxScaler = 6
)

// errNotOver is returned for a day that is not over on the meter's clock: its block would be incomplete for ever.
var errNotOver = errors.New("that day is not over on the meter's clock")

// collect reads one day of these meters, all of them if none are named, into the spool. A block that waits there
// already is not read again.
func (c *Concentrator) collect(ctx context.Context, q bus.Collect) bus.Reply {
	start, err := time.ParseInLocation(time.DateOnly, q.Day, c.cfg.zone())
	if err != nil {
		return fail(refused(fmt.Sprintf("day: want YYYY-MM-DD, got %q", clip(q.Day))))
	}
	meters := q.Meters
	if len(meters) == 0 {
		meters = c.ring.Meters()
	}
	meters, failed := c.mine(meters)
	failed = append(failed, c.each(ctx, meters, func(ctx context.Context, m *meter) error {
		if c.spool.has(m.title, q.Day, loadCurve) {
			return nil
		}
		b, err := c.readDay(ctx, m, start)
		if err != nil {
			return err
		}
		return c.spool.put(b)
	})...)
	c.up.wakeNow()
	return bus.Reply{Collect: &bus.CollectResult{Read: len(without(meters, failed)), Failed: failed}}
}

// mine parts the meters that are this concentrator's from others, and drops what is named twice.
func (c *Concentrator) mine(meters []dlms.SystemTitle) (own []dlms.SystemTitle, failed []bus.MeterFault) {
	seen := map[dlms.SystemTitle]bool{}
	for _, t := range meters {
		switch {
		case seen[t]:
		case !c.concerns(t):
			failed = append(failed, bus.MeterFault{Meter: t, Code: bus.FaultNoMeter, Text: "not a meter of this concentrator"})
		default:
			own = append(own, t)
		}
		seen[t] = true
	}
	return own, failed
}

// readDay reads a day's block. Reading changes nothing, so it is tried once more when the association breaks.
func (c *Concentrator) readDay(ctx context.Context, m *meter, start time.Time) (b bus.DayBlock, err error) {
	for range 2 {
		s, clock, e := c.ready(ctx, m)
		if e != nil {
			return b, e
		}
		if b, err = c.readBlock(ctx, m, s, clock, start); err == nil || s.assoc.Err() == nil || ctx.Err() != nil {
			break
		}
		m.setReadWrite(nil)
	}
	if err != nil {
		// Nothing was to take effect: the block was not read, whatever happened on the line.
		f := faultOf(err)
		if f.Code == bus.FaultUnknown {
			f.Code = bus.FaultUnreachable
		}
		return b, f
	}
	return b, nil
}

func (c *Concentrator) readBlock(ctx context.Context, m *meter, s *session, clock dlms.DateTime, start time.Time) (b bus.DayBlock, err error) {
	now := c.deps.Now()
	shows, err := clock.TimeIn(c.cfg.zone())
	if err != nil {
		return b, fmt.Errorf("clock: %w", err)
	}
	if shows.Before(start.Add(day)) {
		return b, &bus.Fault{Code: bus.FaultRefused, Text: fmt.Sprintf("%v: it shows %s", errNotOver, shows.Format(time.RFC3339))}
	}
	b = bus.DayBlock{
		Meter: m.title, Day: start.Format(time.DateOnly), Channel: loadCurve, Start: start.UTC(),
		ClockSeconds: int64(shows.Sub(now) / time.Second),
	}
	if b.Index, err = readIndex(ctx, s); err != nil {
		return b, err
	}
	period, err := m.capturePeriod(ctx, s)
	if err != nil {
		return b, err
	}
	b.PeriodSeconds = period
	rows, err := readRows(ctx, s, start, time.Duration(period)*time.Second)
	if err != nil {
		return b, err
	}
	return b, fillBlock(&b, rows, start)
}

// readIndex reads a register in Wh.
func readIndex(ctx context.Context, s *session) (int64, error) {
	ref := dlms.AttributeRef{Class: dlms.ClassRegister, Instance: importIndex, Attribute: 2}
	v, err := s.assoc.Get(ctx, ref)
	if err != nil {
		return 0, err
	}
	n, err := v.Int()
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	ref.Attribute = 3
	unit, err := s.assoc.Get(ctx, ref)
	if err != nil {
		return 0, err
	}
	return inWh(n, unit)
}

// inWh applies scaler_unit (BB 4.3.2): structure { scaler integer, unit enum }.
func inWh(n int64, unit dlms.Data) (int64, error) {
	if err := unit.Expect(dlms.TagStructure, 2); err != nil {
		return 0, fmt.Errorf("scaler and unit of the index: %w", err)
	}
	scaler, err1 := unit.At(0).Int()
	code, err2 := unit.At(1).Int()
	if err1 != nil || err2 != nil || code != unitWh || scaler < -maxScaler || scaler > maxScaler {
		return 0, fmt.Errorf("scaler and unit of the index: want Wh, got %s", clip(unit.String()))
	}
	for ; scaler > 0; scaler-- {
		n *= 10
	}
	for ; scaler < 0; scaler++ {
		n /= 10
	}
	return n, nil
}

// capturePeriod reads the period of the load curve once (class 7, attribute 4, seconds).
func (m *meter) capturePeriod(ctx context.Context, s *session) (uint32, error) {
	m.mu.Lock()
	known := m.period
	m.mu.Unlock()
	if known != 0 {
		return known, nil
	}
	v, err := s.assoc.Get(ctx, dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: loadCurve, Attribute: 4})
	if err != nil {
		return 0, err
	}
	n, err := v.Uint()
	if err != nil || n < 60 || n > uint64(day/time.Second) || uint64(day/time.Second)%n != 0 {
		return 0, fmt.Errorf("capture period: want 60 seconds to a day, a part of the day, got %s", clip(v.String()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.period = uint32(n)
	return m.period, nil
}

// row is one row of a load curve: energy in Wh of the interval that ended at at.
type row struct {
	at     time.Time
	status uint8
	wh     int64
}

// readRows reads the rows whose intervals end within the day that begins at start: after its first moment and up to its
// last one, which is the first of the next day (selective access by range; both ends are included).
func readRows(ctx context.Context, s *session, start time.Time, period time.Duration) ([]row, error) {
	sel := apdu.RangeDescriptor{
		Column: apdu.Column{Class: dlms.ClassClock, Instance: clockRef().Instance, Attribute: 2},
		From:   dlms.DateTimeOf(start.Add(time.Second), 0).Octets(),
		To:     dlms.DateTimeOf(start.Add(day), 0).Octets(),
	}
	ref := dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: loadCurve, Attribute: 2}
	v, err := s.assoc.GetSelected(ctx, ref, sel.Selection())
	if err != nil {
		return nil, err
	}
	if err := v.Expect(dlms.TagArray, -1); err != nil {
		return nil, fmt.Errorf("load curve: %w", err)
	}
	if most := 2 * int(day/period); v.Len() > most {
		return nil, fmt.Errorf("load curve: want at most %d rows of a day, got %d", most, v.Len())
	}
	rows := make([]row, v.Len())
	for i, e := range v.Elements() {
		if rows[i], err = parseRow(e, start.Location()); err != nil {
			return nil, fmt.Errorf("load curve: row %d: %w", i+1, err)
		}
	}
	return rows, nil
}

// parseRow takes structure { date-time octet-string, status unsigned, energy in Wh }.
func parseRow(d dlms.Data, zone *time.Location) (r row, err error) {
	if err := d.Expect(dlms.TagStructure, 3); err != nil {
		return r, err
	}
	dt, err := dlms.ParseDateTime(d.At(0).Bytes())
	if err != nil {
		return r, err
	}
	if r.at, err = dt.TimeIn(zone); err != nil {
		return r, err
	}
	status, err := d.At(1).Uint()
	if err != nil || status > 0xFF {
		return r, fmt.Errorf("status: want one byte, got %s", clip(d.At(1).String()))
	}
	r.status = uint8(status)
	r.wh, err = d.At(2).Int()
	if err == nil && r.wh < 0 {
		err = fmt.Errorf("energy: want no negative one, got %d", r.wh)
	}
	return r, err
}

// fillBlock puts rows in their places. Where there is none, the value is 0 and the status says missing; of two for one
// interval, as a clock that was put back makes them, the later one counts.
func fillBlock(b *bus.DayBlock, rows []row, start time.Time) error {
	period := time.Duration(b.PeriodSeconds) * time.Second
	n := int(day / period)
	b.Values, b.Status = make([]int64, n), make([]byte, n)
	for i := range b.Status {
		b.Status[i] = bus.StatusMissing
	}
	filled := 0
	for _, r := range rows {
		into := r.at.Sub(start)
		if into <= 0 || into > day || into%period != 0 {
			return fmt.Errorf("load curve: a row at %s, which is no end of an interval of %s", r.at.Format(time.RFC3339), b.Day)
		}
		i := int(into/period) - 1
		b.Values[i], b.Status[i] = r.wh, r.status
		filled++
	}
	if filled == 0 {
		return &bus.Fault{Code: bus.FaultRefused, Text: fmt.Sprintf("the meter has no rows of %s", b.Day)}
	}
	return nil
}
