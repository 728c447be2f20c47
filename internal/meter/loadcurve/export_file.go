package loadcurve

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	assumedStep = 30 // minutes
	maxStep     = 60
)

// exportFile decodes the load curve that customers of the French grid get of
// their meter: horodate, the end of the step, and valeur, the average power over
// it in W. A step that the file does not declare (column "Pas", or "Pas en
// minutes" in the lines before the header) is the shortest distance between two
// rows of the file, and 30 minutes where there is one row only. The row stamped
// T covers the step that ends at T; what no step covers is missing.
type exportFile struct {
	builder
	stamp, value int // columns
	unit, step   int // columns, -1 if there are none
	declared     int // minutes, of the whole file; 0 if unknown
	rows         []exportRow
}

type exportRow struct {
	end   int64 // Unix seconds
	watts int64
	line  int
	step  int // minutes, 0 if undeclared
}

// newExport is ok for a header of this format; the error then tells what is
// wrong with what the file says of itself.
func newExport(names []string, about preamble) (*exportFile, bool, error) {
	e := &exportFile{
		stamp: column(names, "horodate"),
		value: column(names, "valeur", "puissance moyenne"),
		unit:  column(names, "unite"),
		step:  column(names, "pas"),
	}
	if e.stamp < 0 || e.value < 0 {
		return nil, false, nil
	}
	if err := wantWatts(about.unit.value); err != nil {
		return e, true, err
	}
	step, err := minutesOf(about.step.value)
	e.declared = step
	return e, true, err
}

func (e *exportFile) row(line int, fields []string) error {
	end, err := instant(fields[e.stamp], "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05",
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04", "2/1/2006 15:04:05", "2/1/2006 15:04")
	if err != nil {
		return err
	}
	n := len(e.rows)
	if n > 0 {
		if err := rising(e.rows[n-1].end, end, false); err != nil {
			return err
		}
	}
	step, err := e.about(fields)
	if err != nil {
		return err
	}
	watts, err := power(fields[e.value], 0)
	if err != nil {
		return err
	}
	e.rows = append(e.rows, exportRow{end: end, watts: watts, line: line, step: step})
	return nil
}

// about reads what a row says of itself, where the file has columns for it.
func (e *exportFile) about(fields []string) (step int, err error) {
	if e.unit >= 0 {
		if err := wantWatts(fields[e.unit]); err != nil {
			return 0, err
		}
	}
	if e.step >= 0 {
		return minutesOf(fields[e.step])
	}
	return 0, nil
}

func (e *exportFile) curve() (*Curve, error) {
	step, err := e.commonStep()
	if err != nil {
		return nil, err
	}
	for _, r := range e.rows {
		minutes := cmp.Or(int64(r.step), step)
		seconds := minutes * secondsPerMinute
		if err := e.add(r.end-seconds, seconds, r.watts); err != nil {
			return nil, fmt.Errorf("line %d: step of %d min: %w", r.line, minutes, err)
		}
	}
	return e.builder.curve()
}

// commonStep is the step, in minutes, of rows that do not tell theirs.
func (e *exportFile) commonStep() (int64, error) {
	switch {
	case e.declared != 0:
		return int64(e.declared), nil
	case e.step >= 0 || len(e.rows) < 2:
		return assumedStep, nil
	}
	step := e.shortest()
	if maxStep%step != 0 {
		return 0, fmt.Errorf("rows are %d min apart or more: %w", step, errStep)
	}
	return step, nil
}

// shortest is the shortest distance between two rows, in minutes; at least 1,
// for stamps are whole minutes and rise.
func (e *exportFile) shortest() int64 {
	least := e.rows[1].end - e.rows[0].end
	for i := 2; i < len(e.rows); i++ {
		least = min(least, e.rows[i].end-e.rows[i-1].end)
	}
	return least / secondsPerMinute
}

// preamble is what an export says of itself before its header, either as a line
// of names above a line of values or as name and value side by side.
type preamble struct{ unit, step fact }

func (p *preamble) take(fields []string) {
	p.unit.take(fields, "unite", isUnit)
	p.step.take(fields, "pas en minutes", isNumber)
}

type fact struct {
	value string
	below int // 1 + index of the name in the line before; 0 if it had none
}

// take looks for the value below a name of the line before, then for the name in
// this line and beside it something that looks like a value, not like the next name.
func (f *fact) take(fields []string, name string, looks func(string) bool) {
	if f.below > 0 && f.below <= len(fields) {
		f.value = fields[f.below-1]
	}
	f.below = column(fields, name) + 1
	if f.below > 0 && f.below < len(fields) && looks(fields[f.below]) {
		f.value, f.below = fields[f.below], 0
	}
}

func isUnit(s string) bool {
	switch strings.ToLower(s) {
	case "w", "kw", "mw", "wh", "kwh", "va", "kva", "var", "kvar", "v", "a":
		return true
	}
	return false
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// wantWatts holds the unit, where the file names one; where it does not, the format is in W.
func wantWatts(unit string) error {
	if unit == "" || strings.EqualFold(unit, "W") {
		return nil
	}
	return fmt.Errorf("unit %.16q: want W (an export of average power, not of energy)", unit)
}

// minutesOf reads a step: "30", or an ISO 8601 duration such as PT30M or PT1H. Empty is 0, unknown.
func minutesOf(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	digits, factor := s, 1
	if rest, ok := strings.CutPrefix(strings.ToUpper(s), "PT"); ok {
		digits = strings.TrimSuffix(rest, "M")
		if hours, ok := strings.CutSuffix(rest, "H"); ok {
			digits, factor = hours, maxStep
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > maxStep/factor || maxStep%n != 0 {
		return 0, fmt.Errorf("step %.16q: %w", s, errStep)
	}
	return n * factor, nil
}

var errStep = errors.New("want minutes that divide the hour, such as 30 or PT30M")
