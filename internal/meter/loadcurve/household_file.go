package loadcurve

import "fmt"

// householdFile decodes the household format of the UCI repository ("Individual
// household electric power consumption"): one row a minute, Global_active_power
// in kW with three decimals, which is whole watts. The row stamped T is the
// average of the minute that starts at T.
type householdFile struct {
	builder
	date, time, power int // columns
	last              int64
}

func newHousehold(names []string) (*householdFile, bool) {
	h := &householdFile{
		date:  column(names, "date"),
		time:  column(names, "time"),
		power: column(names, "global_active_power"),
	}
	return h, h.date >= 0 && h.time >= 0 && h.power >= 0
}

func (h *householdFile) row(_ int, fields []string) error {
	at, err := instant(fields[h.date]+" "+fields[h.time], "2/1/2006 15:04:05", "2/1/2006 15:04")
	if err != nil {
		return err
	}
	if err := rising(h.last, at, len(h.segments) == 0); err != nil {
		return err
	}
	const kilowatt = 3 // decimals
	watts, err := power(fields[h.power], kilowatt)
	if err != nil {
		return err
	}
	h.last = at
	return h.add(at, secondsPerMinute, watts)
}

// rising refuses a row that repeats the one before or comes earlier.
func rising(last, at int64, first bool) error {
	switch {
	case first || at > last:
		return nil
	case at == last:
		return fmt.Errorf("%s comes twice: want each interval once (a stamp without an offset is UTC+1 all year, without summer time)", stamp(at))
	default:
		return fmt.Errorf("%s comes after %s: want rows in rising time", stamp(at), stamp(last))
	}
}
