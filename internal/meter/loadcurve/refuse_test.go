package loadcurve

import (
	"errors"
	"strings"
	"testing"
)

func unwrapAll(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func TestParseRefusesWithTheLineAndTheReason(t *testing.T) {
	const row = "1/1/2023;00:00:00;0.600;230\n"
	export := func(rows string) string { return "horodate;valeur\n" + rows }
	for name, tc := range map[string]struct{ text, want string }{
		"too few columns":      {uciHeader + row + "1/1/2023;00:01:00\n", "line 3: want 4 columns as in the header, got 2"},
		"too many columns":     {uciHeader + "1/1/2023;00:00:00;0.600;230;5\n", "line 2: want 4 columns as in the header, got 5"},
		"negative":             {uciHeader + row + "1/1/2023;00:01:00;-0.600;230\n", `line 3: power "-0.600" is negative`},
		"negative, export":     {export("2023-01-01 00:30:00;-1\n"), `line 2: power "-1" is negative`},
		"absurd":               {uciHeader + "1/1/2023;00:00:00;1000.001;230\n", `line 2: power "1000.001" is above 1000000 W`},
		"absurd, export":       {export("2023-01-01 00:30:00;1000001\n"), "line 2: power \"1000001\" is above"},
		"far too long":         {export("2023-01-01 00:30:00;" + strings.Repeat("9", 400) + "\n"), "want a number"},
		"below a watt":         {uciHeader + "1/1/2023;00:00:00;0.6001;230\n", `line 2: power "0.6001" is not a whole number of watts`},
		"half a watt":          {export("2023-01-01 00:30:00;10.5\n"), "is not a whole number of watts"},
		"exponent":             {uciHeader + "1/1/2023;00:00:00;1e3;230\n", `line 2: power "1e3": want a number`},
		"not a number":         {uciHeader + "1/1/2023;00:00:00;NaN;230\n", `line 2: power "NaN": want a number`},
		"only a point":         {uciHeader + "1/1/2023;00:00:00;.;230\n", `line 2: power ".": want a number`},
		"words":                {uciHeader + "1/1/2023;00:00:00;much;230\n", `line 2: power "much": want a number`},
		"twice":                {uciHeader + row + row, "line 3: 2023-01-01T00:00:00+01:00 comes twice"},
		"back":                 {uciHeader + row + "31/12/2022;23:59:00;0.600;230\n", "line 3: 2022-12-31T23:59:00+01:00 comes after 2023-01-01T00:00:00+01:00"},
		"twice, export":        {export("2023-10-29 02:30:00;1\n2023-10-29 03:00:00;1\n2023-10-29 02:30:00;1\n"), "line 4: 2023-10-29T02:30:00+01:00 comes after"},
		"seconds":              {uciHeader + "1/1/2023;00:00:30;0.600;230\n", `line 2: stamp "1/1/2023 00:00:30" is not a whole minute`},
		"no such day":          {uciHeader + "31/2/2023;00:00:00;0.600;230\n", `line 2: stamp "31/2/2023 00:00:00": want a time like "2/1/2006 15:04:05"`},
		"month first":          {uciHeader + "1/13/2023;00:00:00;0.600;230\n", "line 2: stamp"},
		"stamp missing":        {export(";5\n"), `line 2: stamp "": want a time like`},
		"a century":            {uciHeader + row + "1/1/2123;00:00:00;0.600;230\n", "line 3: 2123-01-01T00:00:00+01:00 is more than 50 years after the first row"},
		"overlap":              {"x;Pas en minutes\nx;30\n" + export("2023-01-01 00:30:00;1\n2023-01-01 00:40:00;1\n"), "line 5: step of 30 min: 2023-01-01T00:10:00+01:00 lies inside the row before"},
		"days, export":         {export("2023-01-01 00:00:00;1\n2023-01-02 00:00:00;1\n"), "rows are 1440 min apart or more"},
		"odd step":             {export("2023-01-01 00:00:00;1\n2023-01-01 00:07:00;1\n"), "rows are 7 min apart or more"},
		"declared odd step":    {"x;Pas en minutes\nx;7\n" + export("2023-01-01 00:00:00;1\n"), `line 3: step "7": want minutes that divide the hour`},
		"row of odd step":      {"horodate;valeur;pas\n2023-01-01 00:00:00;1;PT2H\n", `line 2: step "PT2H": want minutes that divide the hour`},
		"energy":               {"x;Unite\nx;Wh\n" + export("2023-01-01 00:00:00;1\n"), `line 3: unit "Wh": want W`},
		"energy, in the row":   {"unite;horodate;valeur\nkWh;2023-01-01 00:00:00;1\n", `line 2: unit "kWh": want W`},
		"not UTF-8":            {uciHeader + row + "1/1/2023;00:01:00;0.600;\xe9\n", "line 3: not UTF-8"},
		"not UTF-8, preamble":  {"Unit\xe9\n" + export("2023-01-01 00:00:00;1\n"), "line 1: not UTF-8"},
		"UTF-16":               {"\xff\xfeh\x00o\x00", "line 1: not UTF-8"},
		"second block":         {export("2023-01-01 00:30:00;1\nhorodate;valeur\n2023-01-01 00:30:00;1\n"), `line 3: stamp "horodate"`},
		"long line":            {uciHeader + strings.Repeat("x", 5000) + "\n", "line 2: longer than 4096 bytes"},
		"open quote":           {export("\"2023-01-01 00:30:00;5\n"), `line 2: stamp "\"2023-01-01 00:30:00"`},
		"gzip of nothing much": {"\x1f\x8b", "read gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q in it", err, tc.want)
			}
			if len(err.Error()) > 250 {
				t.Errorf("the error repeats too much of its input: %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseTellsNoRowsFromNoFormat(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"nothing":                 {"", ErrNoRows},
		"blank":                   {"\n \n", ErrNoRows},
		"household header":        {uciHeader, ErrNoRows},
		"export header":           {"horodate;valeur\n\n", ErrNoRows},
		"other columns":           {"a;b;c\n1;2;3\n", ErrUnknownFormat},
		"rows without header":     {"1/1/2023;00:00:00;0.600;230\n", ErrUnknownFormat},
		"half a household header": {"Date;Time\n", ErrUnknownFormat},
		"half an export header":   {"horodate\n", ErrUnknownFormat},
		"header too late":         {strings.Repeat("x\n", 200) + "horodate;valeur\n2023-01-01 00:30:00;5\n", ErrUnknownFormat},
		"a page":                  {"<!doctype html>\n<p>Sorry\n", ErrUnknownFormat},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(strings.NewReader(tc.text)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestSplitReadsQuotedFields(t *testing.T) {
	for text, want := range map[string]string{
		`a;b`:           "a|b",
		` a ; b `:       "a|b",
		`;`:             "|",
		``:              "",
		`"a;b";c`:       "a;b|c",
		`"a""b" ; "c"`:  `a"b|c`,
		`"a"x;c`:        `"a"x|c`,
		`"open;c`:       `"open|c`,
		`"";`:           "|",
		`a"b;c"d`:       `a"b|c"d`,
		`"a";;"";"b";;`: "a|||b||",
	} {
		if got := strings.Join(split(text, ';'), "|"); got != want {
			t.Errorf("split %s: got %s, want %s", text, got, want)
		}
	}
}
