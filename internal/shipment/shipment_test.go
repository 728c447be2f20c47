package shipment

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms/key"
)

func reader(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func generated(t testing.TB, n int, profile string) []Meter {
	t.Helper()
	meters, err := Generate(rand.Reader, "MSL", n, profile, 1)
	if err != nil {
		t.Fatal(err)
	}
	return meters
}

// lines returns the plaintext lines of a shipment, to be spoiled.
func lines(t testing.TB, meters []Meter) []string {
	t.Helper()
	var b bytes.Buffer
	if err := writeRows(&b, Header{Schema, "MSL", "b1", len(meters)}, meters); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func seal(t testing.TB, to age.Recipient, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func rows(t testing.TB, file []byte, as age.Identity) (*Reader, []Row) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file), as)
	if err != nil {
		t.Fatal(err)
	}
	var out []Row
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r, out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
}

func TestReadAllGivesBackWhatWriteWrote(t *testing.T) {
	for _, profile := range []string{ProfileHardened, ProfileLinky} {
		id, meters := reader(t), generated(t, 3, profile)
		var b bytes.Buffer
		if err := Write(&b, "MSL", "b1", meters, id.Recipient()); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAll(&b, id)
		if err != nil || len(got) != len(meters) {
			t.Fatalf("got %d meters, %v", len(got), err)
		}
		for i, m := range meters {
			if got[i].Title != m.Title || !got[i].CCC.Equal(m.CCC) || !got[i].LAN.Equal(m.LAN) || !got[i].Locale.Equal(m.Locale) {
				t.Errorf("meter %s came back different", m.Title)
			}
			if has := got[i].IS.Equal(m.IS); has != (profile == ProfileHardened) {
				t.Errorf("%s: CC_IS equal: %v", profile, has)
			}
		}
	}
}

func TestGenerateGivesEveryMeterItsOwnTitleAndKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range generated(t, 20, ProfileHardened) {
		names := []string{m.Title.String()}
		for _, k := range m.Keys() {
			names = append(names, k.Key.Fingerprint().String())
		}
		for _, n := range names {
			if seen[n] {
				t.Fatalf("%s twice", n)
			}
			seen[n] = true
		}
	}
	if _, err := Generate(rand.Reader, "msl", 1, ProfileLinky, 1); err == nil {
		t.Error("a maker in small letters was accepted")
	}
	if _, err := Generate(rand.Reader, "MSL", 2, ProfileLinky, maxSerial); err == nil {
		t.Error("a serial number that does not fit was accepted")
	}
	if _, err := Generate(rand.Reader, "MSL", 1, "generic", 1); err == nil {
		t.Error("a profile that is not shipped was accepted")
	}
}

func TestNewReaderRefusesAFileForAnotherReader(t *testing.T) {
	file := seal(t, reader(t).Recipient(), strings.Join(lines(t, generated(t, 1, ProfileLinky)), ""))
	if _, err := NewReader(bytes.NewReader(file), reader(t)); !errors.Is(err, ErrNotForUs) {
		t.Fatalf("want ErrNotForUs, got %v", err)
	}
}

func TestNewReaderRefusesWhatIsNoShipment(t *testing.T) {
	id := reader(t)
	for name, text := range map[string]string{
		"empty":          "",
		"no line":        `{"schema":"meterseal shipment 1"}`,
		"other schema":   `{"schema":"meterseal shipment 9","maker":"MSL","batch":"b","count":1}` + "\n",
		"unknown field":  `{"schema":"meterseal shipment 1","maker":"MSL","batch":"b","count":1,"x":1}` + "\n",
		"lying count":    `{"schema":"meterseal shipment 1","maker":"MSL","batch":"b","count":-1}` + "\n",
		"huge count":     `{"schema":"meterseal shipment 1","maker":"MSL","batch":"b","count":99999999}` + "\n",
		"maker":          `{"schema":"meterseal shipment 1","maker":"../","batch":"b","count":1}` + "\n",
		"header of 1 MB": `{"schema":"` + strings.Repeat("x", 1<<20) + "\"}\n",
	} {
		if _, err := NewReader(bytes.NewReader(seal(t, id.Recipient(), text)), id); !errors.Is(err, ErrFile) {
			t.Errorf("%s: want ErrFile, got %v", name, err)
		}
	}
	if _, err := NewReader(strings.NewReader("not age"), id); !errors.Is(err, ErrFile) {
		t.Errorf("not age: want ErrFile, got %v", err)
	}
}

// TestNextRefusesABadRowAloneAndNeverEchoesIt spoils the second of three rows in every way that the report names.
func TestNextRefusesABadRowAloneAndNeverEchoesIt(t *testing.T) {
	id, meters := reader(t), generated(t, 3, ProfileHardened)
	good := lines(t, meters)
	spoil := func(change func(r *row)) string {
		var r row
		if err := json.Unmarshal([]byte(good[2]), &r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		r.Check = r.sum()
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	secret := hex.EncodeToString(key.Reveal(meters[1].CCC))
	for name, c := range map[string]struct {
		line string
		want Reason
	}{
		"one digit changed": {strings.Replace(good[2], secret[:1], flip(secret[:1]), 1), Damaged},
		"not json":          {secret + "\n", Damaged},
		"unknown field":     {strings.Replace(good[2], `"suite"`, `"sweet"`, 1), Damaged},
		"empty line":        {"\n", Damaged},
		"long line":         {secret + strings.Repeat(" ", 5000) + "\n", Damaged},
		"short key":         {spoil(func(r *row) { r.LAN = r.LAN[:15] }), Damaged},
		"no CC_IS":          {spoil(func(r *row) { r.IS = nil }), Damaged},
		"foreign maker":     {spoil(func(r *row) { copy(r.Title[:], "XXX") }), Foreign},
		"suite":             {spoil(func(r *row) { r.Suite = 1 }), Unsupported},
		"profile":           {spoil(func(r *row) { r.Profile = "generic" }), Unsupported},
		"duplicate title":   {spoil(func(r *row) { r.Title = meters[0].Title }), DuplicateTitle},
		"weak key":          {spoil(func(r *row) { r.Locale = bytes.Repeat([]byte{7}, 16) }), WeakKey},
		"one key twice":     {spoil(func(r *row) { r.LAN = r.CCC }), DuplicateKey},
	} {
		t.Run(name, func(t *testing.T) {
			file := seal(t, id.Recipient(), good[0]+good[1]+c.line+good[3]+"\n")
			r, got := rows(t, file, id)
			if len(got) != 3 || got[0].Refused != nil || got[2].Refused != nil || r.Missing() != 0 || r.Cut() {
				t.Fatalf("the good rows did not come through: %v", got)
			}
			bad := got[1]
			if bad.Refused == nil || bad.Refused.Reason != c.want || bad.N != 2 {
				t.Fatalf("want row 2 refused as %s, got %+v", c.want, bad)
			}
			if strings.Contains(bad.Refused.Error(), secret[:6]) || !bad.Meter.CCC.IsZero() {
				t.Fatal("the refusal holds a piece of the row")
			}
		})
	}
}

func flip(digit string) string {
	if digit == "0" {
		return "1"
	}
	return "0"
}

func TestNextReportsATruncatedFile(t *testing.T) {
	id, meters := reader(t), generated(t, 3, ProfileHardened)
	good := lines(t, meters)
	t.Run("cut in the second row by the maker", func(t *testing.T) {
		r, got := rows(t, seal(t, id.Recipient(), good[0]+good[1]+good[2][:40]), id)
		if len(got) != 2 || got[0].Refused != nil || got[1].Refused.Reason != Truncated || r.Missing() != 1 || !r.Cut() {
			t.Fatalf("got %v, missing %d", got, r.Missing())
		}
	})
	t.Run("cut between rows by the maker", func(t *testing.T) {
		r, got := rows(t, seal(t, id.Recipient(), good[0]+good[1]), id)
		if len(got) != 1 || r.Missing() != 2 {
			t.Fatalf("got %v, missing %d", got, r.Missing())
		}
	})
	t.Run("cut after encryption", func(t *testing.T) {
		many := generated(t, 400, ProfileHardened) // more than one 64 KiB piece
		file := seal(t, id.Recipient(), strings.Join(lines(t, many), "")+"\n")
		r, got := rows(t, file[:len(file)-100], id)
		whole := 0
		for _, row := range got {
			if row.Refused == nil {
				whole++
			}
		}
		if whole < 200 || whole >= 400 || r.Missing() != 400-len(got) || !r.Cut() {
			t.Fatalf("%d whole rows, %d read, %d missing, cut %v", whole, len(got), r.Missing(), r.Cut())
		}
		if _, err := ReadAll(bytes.NewReader(file[:len(file)-100]), id); err == nil {
			t.Fatal("ReadAll took a truncated file")
		}
	})
}

func TestNextRefusesRowsBeyondTheCount(t *testing.T) {
	id, meters := reader(t), generated(t, 2, ProfileLinky)
	good := lines(t, meters)
	head := strings.Replace(good[0], `"count":2`, `"count":1`, 1)
	_, got := rows(t, seal(t, id.Recipient(), head+good[1]+good[2]+"\n"), id)
	if len(got) != 2 || got[1].Refused == nil || got[1].Refused.Reason != Foreign {
		t.Fatalf("got %v", got)
	}
}

func TestLaw2AMeterOfAShipmentShowsNoKey(t *testing.T) {
	m := generated(t, 1, ProfileHardened)[0]
	text := fmt.Sprintf("%v %+v %#v %s %q %x %d", m, m, m, m, m, m, m)
	for _, k := range m.Keys() {
		b := key.Reveal(k.Key)
		if strings.Contains(strings.ToLower(text), hex.EncodeToString(b)[:8]) || strings.Contains(text, fmt.Sprint(b)) {
			t.Fatalf("a verb shows %s", k.Role)
		}
	}
	if _, err := json.Marshal(m); err == nil {
		t.Fatal("a meter of a shipment was marshalled")
	}
}

func TestWriteRefusesWhatReadWouldRefuse(t *testing.T) {
	id, meters := reader(t), generated(t, 1, ProfileHardened)
	meters[0].LAN = meters[0].Locale
	if err := Write(io.Discard, "MSL", "b1", meters, id.Recipient()); err == nil {
		t.Error("a meter with one key twice was written")
	}
	if err := Write(io.Discard, "MSL", "", generated(t, 1, ProfileLinky), id.Recipient()); err == nil {
		t.Error("a shipment without a batch was written")
	}
}

func FuzzParseRow(f *testing.F) {
	for _, profile := range []string{ProfileHardened, ProfileLinky} {
		f.Add([]byte(strings.TrimSuffix(lines(f, generated(f, 1, profile))[1], "\n")))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		title, m, bad := parseRow(line)
		if bad != nil {
			return
		}
		var b bytes.Buffer
		if m.Title != title || writeMeter(&b, m) != nil {
			t.Fatal("a row that was read is not a meter")
		}
		again, m2, bad := parseRow(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
		if bad != nil || again != title || !m2.CCC.Equal(m.CCC) {
			t.Fatal("a row that was read does not come back")
		}
	})
}
