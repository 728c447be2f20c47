package loadcurve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxLine = 4096 // bytes
	// maxLines also bounds blank lines, which cost time but no memory.
	maxLines  = maxRows + 1_000_000
	maxPowerW = 1_000_000
	maxDigits = 15 // below 2^63 even with three decimals added
)

// lines hands out the lines of a text that hold something, and counts all.
type lines struct {
	scan  *bufio.Scanner
	count int // number of the line in text, from 1
	text  string
	err   error
}

func newLines(r io.Reader) *lines {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, maxLine), maxLine)
	return &lines{scan: scan}
}

// next advances to the next line that is not blank. It is false at the end and
// after an error, which is then in err.
func (l *lines) next() bool {
	for l.err == nil && l.scan.Scan() {
		l.count++
		l.text, l.err = l.check(l.scan.Text())
		if l.err == nil && l.text != "" {
			return true
		}
	}
	if l.err == nil {
		l.err = l.readError()
	}
	return false
}

func (l *lines) check(s string) (string, error) {
	if l.count > maxLines {
		return "", l.wrap(fmt.Errorf("more than %d lines: want a shorter file", maxLines))
	}
	if !utf8.ValidString(s) {
		return "", l.wrap(errors.New("not UTF-8: want the file converted to UTF-8"))
	}
	if l.count == 1 {
		s = strings.TrimPrefix(s, "\ufeff")
	}
	return strings.TrimSpace(s), nil
}

// readError tells what ended the scan; the line at fault is the one after the last.
func (l *lines) readError() error {
	err := l.scan.Err()
	if err == nil {
		return nil
	}
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d bytes: want one row a line", l.count+1, maxLine)
	}
	return fmt.Errorf("line %d: read: %w", l.count+1, err)
}

func (l *lines) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", l.count, err)
}

// separatorOf is the most frequent of the known separators; ";" where none occurs.
func separatorOf(s string) byte {
	best := byte(';')
	for _, c := range []byte{',', '\t'} {
		if strings.Count(s, string(c)) > strings.Count(s, string(best)) {
			best = c
		}
	}
	return best
}

// split cuts a line into trimmed fields. A field that begins with a quote runs
// to the closing one, within the line, and "" in it is a quote.
func split(s string, sep byte) []string {
	fields := make([]string, 0, strings.Count(s, string(sep))+1)
	for {
		var field string
		field, s = cutField(s, sep)
		fields = append(fields, strings.TrimSpace(field))
		if s == "" {
			return fields
		}
		s = s[1:]
	}
}

// cutField returns the first field and the rest, which is empty or begins with the separator.
func cutField(s string, sep byte) (field, rest string) {
	if trimmed := strings.TrimLeft(s, " "); strings.HasPrefix(trimmed, `"`) {
		if field, rest, ok := cutQuoted(trimmed[1:], sep); ok {
			return field, rest
		}
	}
	if i := strings.IndexByte(s, sep); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// cutQuoted takes what follows an opening quote. Not ok where the quote is never
// closed or something follows it: the field is then read as it stands.
func cutQuoted(s string, sep byte) (field, rest string, ok bool) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return "", "", false
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		if !strings.HasPrefix(s, `"`) {
			break
		}
		b.WriteByte('"')
		s = s[1:]
	}
	s = strings.TrimLeft(s, " ")
	return b.String(), s, s == "" || s[0] == sep
}

// plain is a column name for comparison: lower case, accents of French dropped.
func plain(s string) string {
	return strings.NewReplacer("é", "e", "è", "e", "ê", "e", "à", "a").Replace(strings.ToLower(s))
}

// column is the index of the first name that begins with one of the prefixes, or -1.
func column(names []string, prefixes ...string) int {
	for i, name := range names {
		for _, p := range prefixes {
			if strings.HasPrefix(plain(name), p) {
				return i
			}
		}
	}
	return -1
}

// absent tells whether a value stands for a missing measurement.
func absent(s string) bool { return s == "" || s == "?" }

// power reads a power given in units of 10^decimals watts. It is exact: no
// floating point comes near it. The decimal mark is a point or a comma.
func power(s string, decimals int) (int64, error) {
	if absent(s) {
		return missingPower, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("power %.32q is negative: want a consumption", s)
	}
	w, err := decimal(s, decimals)
	if err != nil {
		return 0, err
	}
	if w > maxPowerW {
		return 0, fmt.Errorf("power %.32q is above %d W: is the unit right?", s, maxPowerW)
	}
	return w, nil
}

// decimal reads s times 10^decimals, which must be whole.
func decimal(s string, decimals int) (int64, error) {
	whole, fraction, _ := strings.Cut(strings.ReplaceAll(s, ",", "."), ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > decimals {
		return 0, fmt.Errorf("power %.32q is not a whole number of watts", s)
	}
	digits := whole + fraction + strings.Repeat("0", decimals-len(fraction))
	if whole == "" || len(digits) > maxDigits {
		return 0, fmt.Errorf("power %.32q: want a number", s)
	}
	var v int64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("power %.32q: want a number", s)
		}
		v = v*10 + int64(c-'0')
	}
	return v, nil
}

// instant reads a stamp in the first layout that fits, in file time where it
// has no offset, as Unix seconds. It must be a whole minute.
func instant(s string, layouts ...string) (int64, error) {
	for _, layout := range layouts {
		t, err := time.ParseInLocation(layout, s, FileTime())
		if err != nil {
			continue
		}
		if t.Unix()%secondsPerMinute != 0 || t.Nanosecond() != 0 {
			return 0, fmt.Errorf("stamp %.40q is not a whole minute", s)
		}
		return t.Unix(), nil
	}
	return 0, fmt.Errorf("stamp %.40q: want a time like %q", s, layouts[0])
}
