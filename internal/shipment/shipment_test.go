package shipment

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

var vaults transporttest.Keys

func vault(t testing.TB) transport.Private {
	t.Helper()
	k, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func maker(t testing.TB, letters string) MakerKey {
	t.Helper()
	k, err := NewMakerKey(rand.Reader, letters)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func generated(t testing.TB, n int, profile string) []Meter {
	t.Helper()
	meters, err := Generate(rand.Reader, "MSL", n, profile, 1)
	if err != nil {
		t.Fatal(err)
	}
	return meters
}

func written(t testing.TB, by MakerKey, meters []Meter) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, rand.Reader, by, "b1", meters, vault(t).Public()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read spools, verifies and reads all rows.
func read(t testing.TB, file []byte, by MakerPublic) (Header, []Row, error) {
	t.Helper()
	dir := t.TempDir()
	f, err := Spool(dir, bytes.NewReader(file))
	if err != nil {
		return Header{}, nil, err
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("files were left behind: %v, %v", left, err)
		}
	}()
	if err := f.Verify(by); err != nil {
		return Header{}, nil, err
	}
	rows, err := all(f)
	return f.Header(), rows, err
}

func all(f *File) (rows []Row, err error) {
	r, err := f.Rows()
	for err == nil {
		var row Row
		if row, err = r.Next(); err == nil {
			rows = append(rows, row)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return rows, err
}

// opens checks that a row has the keys of a meter.
func opens(t rapid.TB, under key.Wrapping, row Row, m Meter) {
	t.Helper()
	keys := m.Keys()
	if row.Refused != nil || row.Title != m.Title || row.Profile != m.Profile || len(row.Keys) != len(keys) {
		t.Fatalf("another row: %+v", row)
	}
	for i, k := range row.Keys {
		var got key.Key
		var err error
		if k.Role == role.CCC {
			got, err = under.UnwrapMaster(k.Wrapped)
		} else {
			got, err = under.UnwrapUnicast(k.Wrapped)
		}
		if err != nil || got.Fingerprint() != keys[i].Key.Fingerprint() || k.CheckValue != keys[i].Key.CheckValue() || k.Role != keys[i].Role {
			t.Fatalf("%s of %s is another key: %v", k.Role, m.Title, err)
		}
	}
}

func TestAShipmentBringsEveryKeyToItsVault(t *testing.T) {
	by := maker(t, "MSL")
	rapid.Check(t, func(rt *rapid.T) {
		profile := rapid.SampledFrom([]string{ProfileHardened, ProfileLinky}).Draw(rt, "profile")
		meters := generated(t, rapid.IntRange(1, 20).Draw(rt, "meters"), profile)
		h, rows, err := read(t, written(t, by, meters), by.Public())
		if err != nil || len(rows) != len(meters) || h.Count != len(meters) || h.Maker != "MSL" || h.Batch != "b1" {
			rt.Fatalf("got %d rows under %+v, %v", len(rows), h, err)
		}
		if err := h.For(vault(t).Public()); err != nil {
			rt.Fatal(err)
		}
		under, err := vault(t).UnwrapKey(h.Key)
		if err != nil {
			rt.Fatal(err)
		}
		for i, row := range rows {
			opens(rt, under, row, meters[i])
		}
	})
}

// TestNoByteOfAShipmentCanBeChanged flips a bit of each byte of a whole file.
func TestNoByteOfAShipmentCanBeChanged(t *testing.T) {
	by := maker(t, "MSL")
	file := written(t, by, generated(t, 1, ProfileLinky))
	for i := range file {
		for _, bit := range []byte{1, 0x20} { // 0x20 changes the case of a letter
			bad := bytes.Clone(file)
			bad[i] ^= bit
			if _, _, err := read(t, bad, by.Public()); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrFile) {
				t.Fatalf("byte %d of %d, %q made %q: got %v", i, len(file), file[i], bad[i], err)
			}
		}
	}
	for n := range file {
		if _, _, err := read(t, file[:n], by.Public()); !errors.Is(err, ErrSignature) && !errors.Is(err, ErrFile) {
			t.Fatalf("cut to %d bytes of %d: got %v", n, len(file), err)
		}
	}
}

func TestAShipmentIsVerifiedWithTheKeyItNames(t *testing.T) {
	by := maker(t, "MSL")
	file := written(t, by, generated(t, 1, ProfileLinky))
	for name, p := range map[string]MakerPublic{"another key of the maker": maker(t, "MSL").Public(), "another maker": maker(t, "XYZ").Public()} {
		if _, _, err := read(t, file, p); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: want ErrSignature, got %v", name, err)
		}
	}
	sameKey, err := NewMakerPublic("XYZ", by.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(t, file, sameKey); !errors.Is(err, ErrSignature) {
		t.Errorf("the same key under other letters: want ErrSignature, got %v", err)
	}
	f, err := Spool(t.TempDir(), bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Rows(); !errors.Is(err, ErrSignature) {
		t.Errorf("rows before the signature: want ErrSignature, got %v", err)
	}
}

// signed signs lines as a maker does, whatever they are.
func signed(t testing.TB, by MakerKey, lines ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := newSignedWriter(&b, 1<<20)
	for _, l := range lines {
		if text, ok := l.(string); ok {
			w.sum.Write([]byte(text + "\n"))
			if _, err := w.out.WriteString(text + "\n"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := w.line(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(purposeShipment, func(m []byte) ([]byte, error) { return by.sign(m), nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// parts gives the header and the rows of a shipment, to be spoiled and signed again.
func parts(t testing.TB, by MakerKey, meters []Meter) (h Header, rows []row) {
	t.Helper()
	for i, line := range bytes.Split(bytes.TrimSpace(written(t, by, meters)), []byte("\n")) {
		var r row
		var err error
		switch {
		case i == 0:
			err = json.Unmarshal(line, &h)
		case i <= len(meters):
			err = json.Unmarshal(line, &r)
			rows = append(rows, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return h, rows
}

// TestASignedRowThatIsBadIsRefusedAlone has a maker's own mistakes in the second of three rows.
func TestASignedRowThatIsBadIsRefusedAlone(t *testing.T) {
	by, meters := maker(t, "MSL"), generated(t, 3, ProfileHardened)
	h, good := parts(t, by, meters)
	spoil := func(change func(r *row)) any {
		r := good[1]
		r.Keys = append([]SealedKey(nil), r.Keys...)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		line any
		want Reason
	}{
		"not json":          {"hello", Damaged},
		"empty line":        {"", Damaged},
		"unknown field":     {`{"x":1}`, Damaged},
		"two values":        {"{} {}", Damaged},
		"short key":         {spoil(func(r *row) { r.Keys[1].Wrapped = r.Keys[1].Wrapped[:16] }), Damaged},
		"no CC_IS":          {spoil(func(r *row) { r.Keys = r.Keys[:3] }), Damaged},
		"another order":     {spoil(func(r *row) { r.Keys[0], r.Keys[1] = r.Keys[1], r.Keys[0] }), Damaged},
		"a role twice":      {spoil(func(r *row) { r.Keys[2] = r.Keys[1] }), Damaged},
		"a CC_IS in linky":  {spoil(func(r *row) { r.Profile = ProfileLinky }), Damaged},
		"foreign maker":     {spoil(func(r *row) { copy(r.Title[:], "XXX") }), Foreign},
		"suite":             {spoil(func(r *row) { r.Suite = 1 }), Unsupported},
		"profile":           {spoil(func(r *row) { r.Profile = "generic" }), Unsupported},
		"duplicate title":   {spoil(func(r *row) { r.Title = meters[0].Title }), DuplicateTitle},
		"another key there": {spoil(func(r *row) { r.Keys[1].Wrapped = good[0].Keys[1].Wrapped }), ""}, // the vault finds that
	} {
		t.Run(name, func(t *testing.T) {
			_, got, err := read(t, signed(t, by, h, good[0], c.line, good[2]), by.Public())
			if err != nil || len(got) != 3 || got[0].Refused != nil || got[2].Refused != nil {
				t.Fatalf("the good rows did not come through: %v, %v", got, err)
			}
			if c.want == "" {
				if got[1].Refused != nil {
					t.Fatalf("refused: %v", got[1].Refused)
				}
				return
			}
			if bad := got[1]; bad.Refused == nil || bad.Refused.Reason != c.want || bad.N != 2 {
				t.Fatalf("want row 2 refused as %s, got %+v", c.want, bad)
			}
		})
	}
}

func TestSpoolRefusesASignedFileThatIsNoShipment(t *testing.T) {
	by := maker(t, "MSL")
	h, rows := parts(t, by, generated(t, 2, ProfileLinky))
	edit := func(change func(*Header)) Header {
		bad := h
		change(&bad)
		return bad
	}
	for name, lines := range map[string][]any{
		"other schema":   {edit(func(h *Header) { h.Schema = "meterseal shipment 9" }), rows[0], rows[1]},
		"a transfer":     {edit(func(h *Header) { h.Schema = "meterseal transfer 1" }), rows[0], rows[1]},
		"maker":          {edit(func(h *Header) { h.Maker = "../" }), rows[0], rows[1]},
		"no batch":       {edit(func(h *Header) { h.Batch = "" }), rows[0], rows[1]},
		"no signer":      {edit(func(h *Header) { h.Signer = "" }), rows[0], rows[1]},
		"scheme":         {edit(func(h *Header) { h.Scheme = "rsa-pkcs1" }), rows[0], rows[1]},
		"a short key":    {edit(func(h *Header) { h.Key = h.Key[:256] }), rows[0], rows[1]},
		"fewer rows":     {h, rows[0]},
		"more rows":      {h, rows[0], rows[1], rows[1]},
		"no rows":        {edit(func(h *Header) { h.Count = 0 })},
		"huge count":     {edit(func(h *Header) { h.Count = 99_999_999 }), rows[0], rows[1]},
		"a long line":    {h, rows[0], strings.Repeat(" ", 5000)},
		"a long header":  {strings.Repeat("x", 1<<19), rows[0], rows[1]},
		"unknown field":  {`{"schema":"meterseal shipment 2","x":1}`, rows[0]},
		"no header":      {rows[0], rows[1]},
		"only a trailer": {},
	} {
		if _, _, err := read(t, signed(t, by, lines...), by.Public()); !errors.Is(err, ErrFile) {
			t.Errorf("%s: want ErrFile, got %v", name, err)
		}
	}
}

func TestSystemTitlesAreTheMakersLettersAndTheSerialNumber(t *testing.T) {
	m := generated(t, 1, ProfileLinky)[0]
	if got := m.Title.String(); got != "4D534C0000000001" {
		t.Errorf("got %s", got)
	}
	if _, err := Generate(rand.Reader, "Msl", 1, ProfileLinky, 1); err == nil {
		t.Error("a maker in small letters was accepted")
	}
	if _, err := Generate(rand.Reader, "MSL", 2, ProfileLinky, maxSerial); err == nil {
		t.Error("a serial number that does not fit was accepted")
	}
	if _, err := Generate(rand.Reader, "MSL", 1, "generic", 1); err == nil {
		t.Error("a profile that is not shipped was accepted")
	}
}

func TestLaw2AMeterAndAMakersKeyShowNothing(t *testing.T) {
	m, k := generated(t, 1, ProfileHardened)[0], maker(t, "MSL")
	text := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v %#v %x", m, m, m, m, m, m, m, k, k, &k, k)
	secrets := [][]byte{k.reveal().Seed()}
	for _, rk := range m.Keys() {
		secrets = append(secrets, key.Reveal(rk.Key))
	}
	for _, b := range secrets {
		if strings.Contains(strings.ToLower(text), hex.EncodeToString(b)[:8]) || strings.Contains(text, strings.Trim(fmt.Sprint(b), "[]")[:20]) {
			t.Fatal("a verb shows a key")
		}
	}
	for _, v := range []any{m, k} {
		if _, err := json.Marshal(v); err == nil {
			t.Fatalf("a %T was marshalled", v)
		}
	}
}

func TestAMakersKeySurvivesItsFileAndIsNeverReplaced(t *testing.T) {
	k, path := maker(t, "MSL"), filepath.Join(t.TempDir(), "maker.key")
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	if err := maker(t, "MSL").Save(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("want ErrExist, got %v", err)
	}
	got, err := LoadMakerKey(path)
	if err != nil || got.Public() != k.Public() || !ed25519.Verify(k.Public().Bytes(), []byte("x"), got.sign([]byte("x"))) {
		t.Fatalf("another key came back: %v", err)
	}
	if p, err := ParseMakerPublic(k.Public().String() + "\n"); err != nil || p != k.Public() || len(p.Fingerprint()) != 29 {
		t.Fatalf("got %v, %v", p, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMakerKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Fatalf("a file that all can read: %v", err)
	}
	for _, bad := range []string{"", "meterseal-maker1:MSL", "meterseal-maker1:msl:" + strings.Repeat("A", 43) + "=", k.Public().String() + "AAAA"} {
		if _, err := ParseMakerPublic(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestWriteRefusesWhatReadWouldRefuse(t *testing.T) {
	meters, to := generated(t, 1, ProfileHardened), vault(t).Public()
	meters[0].LAN = meters[0].Locale
	if err := Write(io.Discard, rand.Reader, maker(t, "MSL"), "b1", meters, to); err == nil {
		t.Error("a meter with one key twice was written")
	}
	if err := Write(io.Discard, rand.Reader, maker(t, "MSL"), "", generated(t, 1, ProfileLinky), to); err == nil {
		t.Error("a shipment without a batch was written")
	}
	if err := Write(io.Discard, rand.Reader, maker(t, "XYZ"), "b1", generated(t, 1, ProfileLinky), to); err == nil {
		t.Error("another maker's meters were written")
	}
	if err := Write(io.Discard, rand.Reader, MakerKey{}, "b1", generated(t, 1, ProfileLinky), to); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("no key: got %v", err)
	}
}

func TestWeakKeysAreFoundByTheirFingerprints(t *testing.T) {
	weak, err := WeakKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{make([]byte, 16), bytes.Repeat([]byte{0xFF}, 16), []byte("0123456789abcdef"), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}} {
		k, err := key.NewMaster(b)
		if err != nil {
			t.Fatal(err)
		}
		if !weak[k.Fingerprint()] {
			t.Errorf("%X is not among them", b)
		}
	}
	for _, m := range generated(t, 20, ProfileHardened) {
		if weak[m.CCC.Fingerprint()] {
			t.Error("a good key is among them")
		}
	}
}

func TestAFactoryReadsWhatWasWrittenForIt(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{ProfileHardened, ProfileLinky} {
		meters := generated(t, 3, profile)
		var b bytes.Buffer
		if err := WriteFactory(&b, "MSL", meters, id.Recipient()); err != nil {
			t.Fatal(err)
		}
		got, err := readFactory(bytes.NewReader(b.Bytes()), id)
		if err != nil || len(got) != len(meters) {
			t.Fatalf("got %d meters, %v", len(got), err)
		}
		for i, m := range got {
			if m.Title != meters[i].Title || !m.CCC.Equal(meters[i].CCC) || !m.LAN.Equal(meters[i].LAN) || m.IS.IsZero() != meters[i].IS.IsZero() {
				t.Errorf("meter %d is another one", i)
			}
		}
		if _, err := readFactory(bytes.NewReader(b.Bytes()), stranger); !errors.Is(err, ErrFactory) {
			t.Errorf("another factory: want ErrFactory, got %v", err)
		}
		for _, n := range []int{0, 10, b.Len() / 2, b.Len() - 1} {
			if _, err := readFactory(bytes.NewReader(b.Bytes()[:n]), id); err == nil {
				t.Errorf("cut to %d bytes: accepted", n)
			}
		}
	}
}

func FuzzParseRow(f *testing.F) {
	for _, profile := range []string{ProfileHardened, ProfileLinky} {
		_, rows := parts(f, maker(f, "MSL"), generated(f, 1, profile))
		b, err := json.Marshal(rows[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := parseRow(line, "MSL")
		if r.Refused != nil {
			return
		}
		again, err := json.Marshal(row{r.Title, r.Profile, r.Suite, r.Keys})
		if err != nil {
			t.Fatal(err)
		}
		if r2 := parseRow(again, "MSL"); r2.Refused != nil || r2.Title != r.Title || len(r2.Keys) != len(r.Keys) {
			t.Fatal("a row that was read does not come back")
		}
	})
}

func FuzzParseFactoryRow(f *testing.F) {
	for _, profile := range []string{ProfileHardened, ProfileLinky} {
		var b bytes.Buffer
		if err := writeFactoryRow(&b, generated(f, 1, profile)[0]); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parseFactoryRow(line)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if writeFactoryRow(&b, m) != nil {
			t.Fatal("a row that was read is not a meter")
		}
		if again, err := parseFactoryRow(b.Bytes()); err != nil || again.Title != m.Title || !again.CCC.Equal(m.CCC) {
			t.Fatal("a row that was read does not come back")
		}
	})
}

func FuzzSpool(f *testing.F) {
	by := maker(f, "MSL")
	f.Add(written(f, by, generated(f, 2, ProfileLinky)))
	f.Add([]byte("{}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Spool(dir, bytes.NewReader(b))
		if err != nil {
			return
		}
		defer file.Close()
		if err := file.Verify(by.Public()); err != nil {
			return
		}
		if rows, err := all(file); err != nil || len(rows) != file.Header().Count {
			t.Fatalf("a verified file has %d rows, %v", len(rows), err)
		}
	})
}
