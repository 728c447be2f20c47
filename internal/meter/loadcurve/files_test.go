package loadcurve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// readRows loads half hours computed by another program.
func readRows(t *testing.T, path string) []Row {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var rows []Row
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		stamp, rest, _ := strings.Cut(scan.Text(), ";")
		if stamp == "start" {
			continue
		}
		var r Row
		if r.Start, err = time.Parse(time.RFC3339, stamp); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(rest, "%d;%d;%d", &r.WattHours, &r.Register, &r.Missing); err != nil {
			t.Fatal(err)
		}
		r.End = r.Start.Add(DefaultStep)
		rows = append(rows, r)
	}
	if len(rows) < 60 {
		t.Fatalf("%s: want at least 60 rows, got %d", path, len(rows))
	}
	return rows
}

func mustRead(t *testing.T, path string) *Curve {
	t.Helper()
	c, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustParse(t *testing.T, text string) *Curve {
	t.Helper()
	c, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func local(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04:05", s, FileTime())
	if err != nil {
		panic(err)
	}
	return t
}

// sameInstant lets two times in different zones be equal.
func sameInstant(a, b time.Time) bool { return a.Equal(b) }

func TestBothFilesGiveTheHalfHoursOfAnotherProgram(t *testing.T) {
	for file, want := range map[string]struct{ half, start, end, day string }{
		"household.csv.gz": {"household-halfhours.csv", "2020-02-28 17:24:00", "2020-03-01 02:10:00", "2020-02-29 00:00:00"},
		"export.csv":       {"export-halfhours.csv", "2023-10-27 23:00:00", "2023-10-30 00:00:00", "2023-10-28 00:00:00"},
	} {
		t.Run(file, func(t *testing.T) {
			c := mustRead(t, "testdata/"+file)
			for name, pair := range map[string][2]time.Time{
				"start": {c.Start(), local(want.start)},
				"end":   {c.End(), local(want.end)},
				"day":   {c.FirstFullDay(), local(want.day)},
			} {
				if !pair[0].Equal(pair[1]) {
					t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
				}
			}
			rows := readRows(t, "testdata/"+want.half)
			var got []Row
			for r := range c.Copy(Unscaled, 0).Rows(c.Start(), c.End(), DefaultStep) {
				got = append(got, r)
			}
			if d := cmp.Diff(rows, got, cmp.Comparer(sameInstant)); d != "" {
				t.Error(d)
			}
			for _, r := range rows {
				if wh, missing := c.Interval(r.Start, r.End); wh != r.WattHours || missing != r.Missing {
					t.Errorf("curve at %v: got %d Wh, %d missing, want %d, %d", r.Start, wh, missing, r.WattHours, r.Missing)
				}
			}
		})
	}
}

const uciHeader = "Date;Time;Global_active_power;Voltage\n"

func TestParseReadsEveryFormOfTheSameRows(t *testing.T) {
	// Each is 600 W, then 1200 W, over half an hour each, from midnight on.
	minutes := uciHeader
	for m := range 60 {
		minutes += fmt.Sprintf("1/1/2023;0%d:%02d:00;%s;230.1\n", m/60, m, []string{"0.600", "1.200"}[m/30])
	}
	for name, text := range map[string]string{
		"household":               minutes,
		"household, CRLF":         strings.ReplaceAll(minutes, "\n", "\r\n"),
		"household, two digits":   strings.ReplaceAll(minutes, "1/1/2023", "01/01/2023"),
		"household, commas":       strings.ReplaceAll(minutes, ";", ","),
		"household, decimal mark": strings.ReplaceAll(minutes, ".", ","),
		"export":                  "horodate;valeur\n2023-01-01T00:30:00+01:00;600\n2023-01-01T01:00:00+01:00;1200\n",
		"export, no end of line":  "horodate;valeur\n2023-01-01T00:30:00+01:00;600\n2023-01-01T01:00:00+01:00;1200",
		"export, mark and UTC":    "\ufeffHorodate;Valeur\r\n2022-12-31T23:30:00Z;600\r\n2023-01-01T00:00:00Z;1200\r\n",
		"export, file time":       "horodate;valeur\n2023-01-01 00:30:00;600\n2023-01-01 01:00:00;1200\n",
		"export, short offset":    "horodate;valeur\n2023-01-01T00:30:00+0100;600\n2023-01-01T01:00:00+0100;1200\n",
		"export, quoted commas":   "\"horodate\",\"valeur\"\n\"2023-01-01T00:30:00+01:00\",\"600,0\"\n\"2023-01-01T01:00:00+01:00\", \"1200\"\n",
		"export, tabs":            "horodate\tvaleur\n2023-01-01T00:30:00+01:00\t600\n2023-01-01T01:00:00+01:00\t1200\n",
		"export, long names":      "horodate ISO fin de pas;puissance moyenne (W)\n01/01/2023 00:30;600\n01/01/2023 01:00:00;1200\n",
		"export, blank lines":     "\nhorodate;valeur\n\n2023-01-01T00:30:00+01:00;600\n\n  \n2023-01-01T01:00:00+01:00;1200\n\n",
		"export, open separators": "horodate;valeur;\n2023-01-01T00:30:00+01:00;600\n2023-01-01T01:00:00+01:00;1200;;\n",
		"export, preamble beside": "PRM;1\nUnite;W\nPas en minutes;30\nhorodate;valeur\n2023-01-01T00:30:00+01:00;600\n2023-01-01T01:00:00+01:00;1200\n",
		"export, one table": "Identifiant PRM;Unité;Horodate;Valeur;Nature;Pas\n" +
			"1;W;2023-01-01T00:30:00+01:00;600;B;PT30M\n1;W;2023-01-01T01:00:00+01:00;1200;B;PT30M\n",
		"export, ten minutes": "horodate;valeur\n2023-01-01T00:10:00+01:00;600\n2023-01-01T00:20:00+01:00;600\n2023-01-01T00:30:00+01:00;600\n" +
			"2023-01-01T00:40:00+01:00;1200\n2023-01-01T00:50:00+01:00;1200\n2023-01-01T01:00:00+01:00;1200\n",
		"export, steps that change": "horodate;valeur;pas\n2023-01-01T00:30:00+01:00;600;PT30M\n" +
			"2023-01-01T00:40:00+01:00;1200;10\n2023-01-01T00:50:00+01:00;1200;PT10M\n2023-01-01T01:00:00+01:00;1200;PT10M\n",
	} {
		t.Run(name, func(t *testing.T) {
			if name == "household, commas" {
				text = strings.ReplaceAll(text, "0,600", "0.600")
			}
			c := mustParse(t, text)
			midnight := local("2023-01-01 00:00:00")
			if !c.Start().Equal(midnight) || !c.End().Equal(midnight.Add(time.Hour)) || !c.FirstFullDay().Equal(midnight) {
				t.Fatalf("covers %v to %v, first day %v", c.Start(), c.End(), c.FirstFullDay())
			}
			for i, want := range []int64{300, 600} {
				a := midnight.Add(time.Duration(i) * DefaultStep)
				if wh, missing := c.Interval(a, a.Add(DefaultStep)); wh != want || missing != 0 {
					t.Errorf("half hour %d: got %d Wh, %d missing, want %d", i, wh, missing, want)
				}
			}
		})
	}
}

func TestParseFlagsWhatIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		wh      int64
		missing int
	}{
		"question mark":    {uciHeader + "1/1/2023;00:00:00;6.000;1\n1/1/2023;00:01:00;?;?\n1/1/2023;00:02:00;6.000;1\n", 200, 1},
		"empty":            {uciHeader + "1/1/2023;00:00:00;6.000;1\n1/1/2023;00:01:00;;\n1/1/2023;00:02:00;6.000;1\n", 200, 1},
		"absent row":       {uciHeader + "1/1/2023;00:00:00;6.000;1\n1/1/2023;00:02:00;6.000;1\n", 200, 1},
		"first and last":   {uciHeader + "1/1/2023;00:00:00;?;1\n1/1/2023;00:01:00;6.000;1\n1/1/2023;00:02:00;?;1\n", 100, 2},
		"all":              {uciHeader + "1/1/2023;00:00:00;?;1\n", 0, 1},
		"export, empty":    {"horodate;valeur\n2023-01-01 00:30:00;100\n2023-01-01 01:00:00;\n2023-01-01 01:30:00;100\n", 100, 30},
		"export, absent":   {"horodate;valeur\n2023-01-01 00:30:00;100\n2023-01-01 01:00:00;100\n2023-01-01 02:00:00;100\n", 150, 30},
		"export, one row":  {"horodate;valeur\n2023-01-01 00:30:00;100\n", 50, 0},
		"export, declared": {"x;Pas en minutes\nx;10\nhorodate;valeur\n2023-01-01 00:30:00;600\n2023-01-01 01:00:00;600\n", 200, 20},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, tc.text)
			if wh, missing := c.Interval(c.Start(), c.End()); wh != tc.wh || missing != tc.missing {
				t.Errorf("got %d Wh, %d missing, want %d, %d", wh, missing, tc.wh, tc.missing)
			}
		})
	}
}

func TestParseReadsOverTheChangesOfClocks(t *testing.T) {
	// The stamps carry offsets: no hour comes twice in October, none is lost in March.
	c := mustParse(t, "horodate;valeur\n2023-10-29T02:30:00+02:00;100\n2023-10-29T03:00:00+02:00;100\n2023-10-29T02:30:00+01:00;100\n2023-10-29T03:00:00+01:00;100\n")
	if wh, missing := c.Interval(c.Start(), c.End()); wh != 200 || missing != 0 || c.End().Sub(c.Start()) != 2*time.Hour {
		t.Errorf("October: %d Wh, %d missing, %v", wh, missing, c.End().Sub(c.Start()))
	}
	c = mustParse(t, "horodate;valeur\n2023-03-26T01:30:00+01:00;100\n2023-03-26T02:00:00+01:00;100\n2023-03-26T03:30:00+02:00;100\n")
	if wh, missing := c.Interval(c.Start(), c.End()); wh != 150 || missing != 0 {
		t.Errorf("March: %d Wh, %d missing", wh, missing)
	}
}

// zeros is an endless run of one byte.
type zeros byte

func (z zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(z)
	}
	return len(p), nil
}

func TestParseRefusesALineWithoutEndInBoundedMemory(t *testing.T) {
	for _, b := range []byte{0, ';', '"', 'x'} {
		_, err := Parse(io.MultiReader(strings.NewReader(uciHeader), zeros(b)))
		if err == nil || !strings.Contains(err.Error(), "line 2: longer than 4096 bytes") {
			t.Errorf("%q for ever: got %v", b, err)
		}
	}
}

func TestParseRefusesBlankLinesWithoutEnd(t *testing.T) {
	_, err := Parse(io.MultiReader(strings.NewReader(uciHeader), zeros('\n')))
	if err == nil || !strings.Contains(err.Error(), "more than 3500000 lines") {
		t.Errorf("got %v", err)
	}
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParseRefusesDamagedGzipAtEveryCut(t *testing.T) {
	whole := zipped(t, uciHeader+"1/1/2023;00:00:00;6.000;1\n1/1/2023;00:01:00;6.000;1\n")
	if _, err := Parse(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := Parse(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("cut to %d of %d bytes: accepted", n, len(whole))
		}
	}
	for _, tail := range []string{"x", "more text"} {
		if _, err := Parse(bytes.NewReader(append(bytes.Clone(whole), tail...))); err == nil {
			t.Errorf("followed by %q: accepted", tail)
		}
	}
}

func TestReadFileNamesTheFileInItsErrors(t *testing.T) {
	if _, err := ReadFile(t.TempDir() + "/none.csv"); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("no file: got %v", err)
	}
	if _, err := ReadFile(t.TempDir()); err == nil {
		t.Error("a folder: accepted")
	}
	path := t.TempDir() + "/bad.csv"
	if err := os.WriteFile(path, []byte("horodate;valeur\nyesterday;1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ReadFile(path)
	if err == nil || !strings.Contains(err.Error(), path+": line 2: stamp \"yesterday\"") {
		t.Errorf("got %v", err)
	}
}
