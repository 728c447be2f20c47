package keysfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
)

// The keys of these tests are counting patterns and belong to no device.
const (
	ekHex    = "000102030405060708090a0b0c0d0e0f"
	kekHex   = "101112131415161718191a1b1c1d1e1f"
	akHex    = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
	titleHex = "4D53540000000001"
)

func object(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, ",%q:%q", pairs[i], pairs[i+1])
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

func whole() string {
	return object("system_title", titleHex, "ek", ekHex, "kek", kekHex, "ak", akHex)
}

func TestParseReadsEveryField(t *testing.T) {
	k, err := Parse([]byte(whole()))
	if err != nil {
		t.Fatal(err)
	}
	if k.SystemTitle.String() != titleHex {
		t.Errorf("title: got %s", k.SystemTitle)
	}
	for name, got := range map[string]struct {
		k    key.Key
		want string
	}{"ek": {k.EK, ekHex}, "kek": {k.KEK, kekHex}, "ak": {k.AK, akHex}} {
		if h := fmt.Sprintf("%x", key.Reveal(got.k)); h != got.want {
			t.Errorf("%s: another key came out", name)
		}
	}
	if len(k.Warnings) != 0 {
		t.Errorf("warnings for a sound file: %q", k.Warnings)
	}
}

func TestParseTakesAFileWithoutKekForAClientAndNeedMasterRefusesIt(t *testing.T) {
	k, err := Parse([]byte(object("system_title", titleHex, "ek", ekHex)))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.NeedMaster(); !errors.Is(err, ErrKeys) {
		t.Errorf("want %v, got %v", ErrKeys, err)
	}
}

func TestParseRefusesWhatIsNotAKeysFileAndShowsNoKey(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"array":           "[]",
		"truncated":       whole()[:60],
		"unknown field":   object("system_title", titleHex, "ek", ekHex, "kek", kekHex, "password", "x"),
		"key as a name":   object("system_title", titleHex, "ek", ekHex, kekHex, "kek"),
		"other case":      object("system_title", titleHex, "EK", ekHex),
		"twice":           object("system_title", titleHex, "ek", ekHex, "ek", kekHex),
		"short key":       object("system_title", titleHex, "ek", ekHex[2:]),
		"long key":        object("system_title", titleHex, "ek", ekHex+"00"),
		"odd digits":      object("system_title", titleHex, "ek", ekHex[1:]),
		"not hexadecimal": object("system_title", titleHex, "ek", "zz"+ekHex[2:]),
		"key as a number": `{"system_title":"` + titleHex + `","ek":10111213141516171819101112131415}`,
		"nested":          `{"system_title":"` + titleHex + `","ek":{"hex":"` + ekHex + `"}}`,
		"no ek":           object("system_title", titleHex, "kek", kekHex),
		"no title":        object("ek", ekHex, "kek", kekHex),
		"short title":     object("system_title", titleHex[2:], "ek", ekHex),
		"zero title":      object("system_title", "0000000000000000", "ek", ekHex),
		"trailing":        whole() + "{}",
		"too large":       whole() + strings.Repeat(" ", maxKeysFile),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(text))
			if !errors.Is(err, ErrKeys) {
				t.Fatalf("want %v, got %v", ErrKeys, err)
			}
			for _, secret := range []string{ekHex[2:20], kekHex[2:20], akHex[2:20], "10111213141516171819"} {
				if strings.Contains(strings.ToLower(err.Error()), secret) {
					t.Errorf("a key is in the text: %v", err)
				}
			}
		})
	}
}

func TestParseWarnsOfWeakAndSharedKeys(t *testing.T) {
	weak := strings.Repeat("00", 16)
	k, err := Parse([]byte(object("system_title", titleHex, "ek", ekHex, "kek", ekHex, "ak", weak)))
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Warnings) != 2 {
		t.Errorf("want two warnings, got %q", k.Warnings)
	}
}

func TestLoadWarnsOfAFileThatOthersMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o644: 1} {
		if err := os.WriteFile(path, []byte(whole()), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		k, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(k.Warnings) != want {
			t.Errorf("mode %04o: want %d warnings, got %q", mode, want, k.Warnings)
		}
	}
}

func TestWriteIsReadBackAndForTheOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	want, err := Parse([]byte(whole()))
	if err != nil {
		t.Fatal(err)
	}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !got.EK.Equal(want.EK) || !got.KEK.Equal(want.KEK) || !got.AK.Equal(want.AK) || got.SystemTitle != want.SystemTitle {
		t.Error("another file came back")
	}
	if len(got.Warnings) != 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
}

func TestKeysPrintNoKey(t *testing.T) {
	k, err := Parse([]byte(whole()))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s", k, *k, k, k.EK)
	for _, secret := range []string{ekHex, "0x0, 0x1, 0x2, 0x3", "0 1 2 3 4 5"} {
		if strings.Contains(text, secret) {
			t.Errorf("a key is in %s", text)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(whole()))
	f.Add([]byte(object("system_title", titleHex, "ek", ekHex)))
	f.Add([]byte(`{"ek":1e99}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Parse(b)
		if err == nil && (k.EK.IsZero() || k.SystemTitle.IsZero()) {
			t.Fatal("taken without a key or a title")
		}
		if err != nil && bytes.Contains(bytes.ToLower([]byte(err.Error())), []byte(ekHex)) {
			t.Fatal("a key is in the text")
		}
	})
}
