package collect

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
)

var (
	meterA  = dlms.SystemTitle{'M', 'S', 'L', 1}
	meterB  = dlms.SystemTitle{'M', 'S', 'L', 2}
	dcOne   = dlms.SystemTitle{'D', 'C', 1}
	channel = dlms.OBIS{1, 1, 99, 1, 0, 255}
)

type memory struct {
	days map[string][]byte
	seen map[dlms.SystemTitle]Sighting
}

func (m *memory) Update(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }

func (m *memory) key(meter dlms.SystemTitle, day string, ch dlms.OBIS) string {
	return meter.String() + day + ch.String()
}

func (m *memory) PutDay(_ context.Context, d Day, block []byte, _ time.Time) (bool, error) {
	k := m.key(d.Meter, d.Date, d.Channel)
	if _, ok := m.days[k]; ok {
		return true, nil
	}
	m.days[k] = block
	return false, nil
}

func (m *memory) Block(_ context.Context, meter dlms.SystemTitle, day string, ch dlms.OBIS) ([]byte, error) {
	b, ok := m.days[m.key(meter, day, ch)]
	if !ok {
		return nil, errors.New("not found")
	}
	return b, nil
}

func (m *memory) PutSighting(_ context.Context, s Sighting) error { m.seen[s.Meter] = s; return nil }

func (m *memory) MetersOf(context.Context, dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	return []dlms.SystemTitle{meterA}, nil
}

func delivery(meter dlms.SystemTitle, values ...int64) bus.Readings {
	return bus.Readings{Blocks: []bus.DayBlock{{
		Meter: meter, Day: "2024-01-01", Channel: channel, PeriodSeconds: 1800, Values: values,
		Status: make([]byte, len(values)), Start: time.Date(2023, 12, 31, 23, 0, 0, 0, time.UTC), Index: 7,
	}}}
}

func collector(t *testing.T) (*Collector, *memory, *strings.Builder) {
	t.Helper()
	m := &memory{days: map[string][]byte{}, seen: map[dlms.SystemTitle]Sighting{}}
	var log strings.Builder
	return New(m, time.Now, slog.New(slog.NewTextHandler(&log, nil))), m, &log
}

func take(t *testing.T, c *Collector, r bus.Readings) {
	t.Helper()
	if err := c.Take(t.Context(), dcOne, r); err != nil {
		t.Fatal(err)
	}
}

func TestARepeatedDeliveryChangesNothing(t *testing.T) {
	c, m, log := collector(t)
	take(t, c, delivery(meterA, 1, 2, 3))
	take(t, c, delivery(meterA, 1, 2, 3))
	if len(m.days) != 1 || log.Len() != 0 {
		t.Fatalf("%d days, log %q", len(m.days), log)
	}
}

func TestADifferentSecondDeliveryIsKeptOutAndAlarmed(t *testing.T) {
	c, _, log := collector(t)
	take(t, c, delivery(meterA, 1, 2, 3))
	take(t, c, delivery(meterA, 9, 9, 9))
	d, err := c.Read(t.Context(), meterA, "2024-01-01", channel)
	if err != nil || !slices.Equal(d.Values, []int64{1, 2, 3}) {
		t.Fatalf("got %v, %v", d.Values, err)
	}
	if !strings.Contains(log.String(), "kept out") {
		t.Fatalf("no alarm in %q", log)
	}
}

func TestAConcentratorSpeaksForItsOwnMetersOnly(t *testing.T) {
	c, m, log := collector(t)
	take(t, c, delivery(meterB, 1))
	if len(m.days) != 0 || !strings.Contains(log.String(), "not a meter of this concentrator") {
		t.Fatalf("%d days, log %q", len(m.days), log)
	}
}

func TestAnAbsurdEnergyIsRefusedAndAlarmed(t *testing.T) {
	c, m, log := collector(t)
	take(t, c, delivery(meterA, -1))
	take(t, c, delivery(meterA, maxWh+1))
	if len(m.days) != 0 || strings.Count(log.String(), "day block refused") != 2 {
		t.Fatalf("%d days, log %q", len(m.days), log)
	}
}
