package enrol

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

var (
	meter = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	other = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 2}
	dc    = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
	tsp   = dlms.SystemTitle{'M', 'S', 'T', 0, 0, 0, 0, 1}
)

var vaults transporttest.Keys

func vaultKey(t testing.TB, n int) transport.Private {
	t.Helper()
	k, err := vaults.Key(n)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func identity(t testing.TB, kind Kind, title dlms.SystemTitle) *Identity {
	t.Helper()
	id, err := NewIdentity(kind, title, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func unicast(t testing.TB) key.Unicast {
	t.Helper()
	k, err := key.GenerateUnicast(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealedTo(t testing.TB, id *Identity, r role.Role, k key.Unicast) SealedKey {
	t.Helper()
	s, err := Seal(SealedKey{
		Meter: meter, Role: r, Version: 3, Recipient: id.Title(), FirstCounter: 1, LastCounter: 1 << 20,
	}, id.KEK(), id.MAC(), k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenGivesTheSealedKeyToItsRecipientAlone(t *testing.T) {
	id, k := identity(t, Concentrator, dc), unicast(t)
	s := sealedTo(t, id, role.CCLAN, k)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var came SealedKey
	if err := json.Unmarshal(b, &came); err != nil {
		t.Fatal(err)
	}
	if got, err := id.Open(came); err != nil || !got.Equal(k) {
		t.Fatalf("the recipient cannot open its key: %v", err)
	}
	if _, err := identity(t, Concentrator, other).Open(s); !errors.Is(err, ErrSealed) {
		t.Fatalf("another device: want ErrSealed, got %v", err)
	}
	if _, err := identity(t, Concentrator, dc).Open(s); !errors.Is(err, ErrSealed) {
		t.Fatalf("other keys under the same title: want ErrSealed, got %v", err)
	}
}

func TestOpenRefusesAKeyPutInAnotherPlace(t *testing.T) {
	id := identity(t, Concentrator, dc)
	s := sealedTo(t, id, role.CCLAN, unicast(t))
	for name, change := range map[string]func(*SealedKey){
		"another meter":     func(s *SealedKey) { s.Meter = other },
		"another role":      func(s *SealedKey) { s.Role = role.CCLOCALE },
		"another version":   func(s *SealedKey) { s.Version++ },
		"another recipient": func(s *SealedKey) { s.Recipient = other },
		"a lower counter":   func(s *SealedKey) { s.FirstCounter = 0 },
		"a higher counter":  func(s *SealedKey) { s.FirstCounter++ },
		"a longer range":    func(s *SealedKey) { s.LastCounter++ },
		"an altered blob":   func(s *SealedKey) { s.Blob = append([]byte{s.Blob[0] ^ 1}, s.Blob[1:]...) },
		"a short blob":      func(s *SealedKey) { s.Blob = s.Blob[:16] },
		"no mac":            func(s *SealedKey) { s.MAC = nil },
		"an altered mac":    func(s *SealedKey) { s.MAC = append([]byte{s.MAC[0] ^ 1}, s.MAC[1:]...) },
	} {
		bad := s
		change(&bad)
		if _, err := id.Open(bad); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: want ErrSealed, got %v", name, err)
		}
	}
}

func TestLaw1SealRefusesKeysThatAreNeverHandedOut(t *testing.T) {
	id := identity(t, Concentrator, dc)
	for _, r := range []role.Role{role.CCC, role.CCIS, 0, 9} {
		s := SealedKey{Meter: meter, Role: r, Version: 1, Recipient: dc, FirstCounter: 1, LastCounter: 2}
		if _, err := Seal(s, id.KEK(), id.MAC(), unicast(t)); err == nil {
			t.Errorf("%s was sealed", r)
		}
	}
	s := SealedKey{Meter: meter, Role: role.CCLAN, Version: 1, Recipient: dc, FirstCounter: 1, LastCounter: 2}
	if _, err := Seal(s, id.KEK(), key.MAC{}, unicast(t)); err == nil {
		t.Error("a key was sealed without a MAC key")
	}
}

func TestGrantIsRefusedAlteredOrOutsideItsTime(t *testing.T) {
	id, from := identity(t, Terminal, tsp), time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	g, err := SealGrant(Grant{
		ID: "g1", Terminal: tsp, NotBefore: from, NotAfter: from.Add(8 * time.Hour),
		Keys: []SealedKey{sealedTo(t, id, role.CCLOCALE, unicast(t))},
	}, id.MAC())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Verify(tsp, id.MAC()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Grant){
		"a later end":      func(g *Grant) { g.NotAfter = g.NotAfter.Add(time.Hour) },
		"an earlier begin": func(g *Grant) { g.NotBefore = g.NotBefore.Add(-time.Hour) },
		"a key taken out":  func(g *Grant) { g.Keys = nil },
		"a key twice":      func(g *Grant) { g.Keys = append(g.Keys, g.Keys[0]) },
		"another id":       func(g *Grant) { g.ID = "g2" },
		"another schema":   func(g *Grant) { g.Schema = "x" },
		"another terminal": func(g *Grant) { g.Terminal = dc },
	} {
		bad := g
		change(&bad)
		if err := bad.Verify(tsp, id.MAC()); !errors.Is(err, ErrGrant) {
			t.Errorf("%s: want ErrGrant, got %v", name, err)
		}
	}
	for at, want := range map[time.Duration]error{-time.Second: ErrGrantTime, 0: nil, 8 * time.Hour: nil, 8*time.Hour + 1: ErrGrantTime} {
		if err := g.Check(from.Add(at)); !errors.Is(err, want) {
			t.Errorf("at %s: want %v, got %v", at, want, err)
		}
	}
	if _, err := g.For(meter); err != nil {
		t.Error(err)
	}
	if _, err := g.For(other); !errors.Is(err, ErrNotGranted) {
		t.Errorf("another meter: want ErrNotGranted, got %v", err)
	}
}

func TestIdentitySurvivesItsFileAndIsNeverReplaced(t *testing.T) {
	for _, kind := range []Kind{Concentrator, Terminal} {
		path := filepath.Join(t.TempDir(), "identity.json")
		id := identity(t, kind, dc)
		if err := id.Save(path); err != nil {
			t.Fatal(err)
		}
		if err := identity(t, kind, dc).Save(path); !errors.Is(err, os.ErrExist) {
			t.Fatalf("want ErrExist, got %v", err)
		}
		got, err := LoadIdentity(path)
		if err != nil {
			t.Fatal(err)
		}
		if got.Title() != dc || got.Kind() != kind || !got.KEK().Equal(id.KEK()) || !got.MAC().Equal(id.MAC()) {
			t.Fatal("another identity came back")
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadIdentity(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Fatalf("a file that all can read: %v", err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Fatalf("temporary files were left: %v, %v", entries, err)
		}
	}
}

func TestConcentratorSignsOnWithTheKeyInItsFile(t *testing.T) {
	vault := vaultKey(t, 0)
	id := identity(t, Concentrator, dc)
	f, err := id.File(vault.Public(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := id.NKey()
	if err != nil {
		t.Fatal(err)
	}
	pair2, err := id.NKey() // a wiped pair must not wipe the identity
	if err != nil {
		t.Fatal(err)
	}
	pair.Wipe()
	if pub, err := pair2.PublicKey(); err != nil || pub != f.NKeyPublic {
		t.Fatalf("want %s, got %s, %v", f.NKeyPublic, pub, err)
	}
	if _, err := identity(t, Terminal, tsp).NKey(); err == nil {
		t.Fatal("a terminal has a bus key")
	}
}

func TestEnrolmentFileCarriesTheKeysToTheVaultAlone(t *testing.T) {
	vault := vaultKey(t, 0)
	stranger := vaultKey(t, 1)
	id, path := identity(t, Terminal, tsp), filepath.Join(t.TempDir(), "enrol.json")
	f, err := id.File(vault.Public(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	came, err := ReadFile(path)
	if err != nil || came.Fingerprint() != f.Fingerprint() || len(f.Fingerprint()) != 29 {
		t.Fatalf("fingerprint %q, %v", came.Fingerprint(), err)
	}
	kek, mac, err := came.OpenKeys(vault)
	if err != nil || !kek.Equal(id.KEK()) || !mac.Equal(id.MAC()) {
		t.Fatalf("the vault cannot read it: %v", err)
	}
	if _, _, err := came.OpenKeys(stranger); err == nil {
		t.Fatal("a stranger can read it")
	}
	again, err := id.File(vault.Public(), rand.Reader)
	if err != nil || again.Fingerprint() == f.Fingerprint() {
		t.Fatalf("two files have one fingerprint: %v", err)
	}
}

func TestParseFileRefusesWhatIsNoEnrolment(t *testing.T) {
	good := enrolment(t, Terminal)
	edit := func(old, new string) string {
		out := strings.Replace(string(good), old, new, 1)
		if out == string(good) {
			t.Fatalf("%q is not in the file", old)
		}
		return out
	}
	for name, text := range map[string]string{
		"nothing":        ``,
		"unknown field":  edit(`"kind"`, `"x":1,"kind"`),
		"other schema":   edit(FileSchema, "meterseal enrolment 1"),
		"a meter":        edit(`"terminal"`, `"meter"`),
		"no bus key":     edit(`"terminal"`, `"concentrator"`),
		"a bus key":      edit(`"kind"`, `"nkey_public":"U","kind"`),
		"short title":    edit(`"4D53540000000001"`, `"4D5354"`),
		"zero title":     edit(`"4D53540000000001"`, `"0000000000000000"`),
		"no keys":        edit(`"kek":"`, `"kek":"","mac":"`),
		"another scheme": edit(`"rsa-oaep-sha256"`, `"rsa-pkcs1"`),
		"no vault":       edit(`"key":"`, `"key":"AA==","mac":"`),
		"two":            string(good) + "{}",
		"long":           strings.Repeat(" ", maxFile+1),
	} {
		if _, err := ParseFile([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOpenKeysRefusesAFileAlteredAnywhere(t *testing.T) {
	id := identity(t, Concentrator, dc)
	f, err := id.File(vaultKey(t, 0).Public(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*File){
		"kek":                 func(f *File) { f.KEK = flipped(f.KEK) },
		"mac":                 func(f *File) { f.MAC = flipped(f.MAC) },
		"kek and mac are one": func(f *File) { f.KEK = f.MAC },
		"the sealed key":      func(f *File) { f.Vault.Key = flipped(f.Vault.Key) },
		"another vault's":     func(f *File) { f.Vault.To = vaultKey(t, 1).Public().Fingerprint() },
		"another scheme":      func(f *File) { f.Vault.Scheme = transport.OAEPSHA1 },
	} {
		bad := f
		change(&bad)
		if _, _, err := bad.OpenKeys(vaultKey(t, 0)); err == nil {
			t.Errorf("%s: opened", name)
		}
		if bad.Fingerprint() == f.Fingerprint() {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
}

func flipped(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 1
	return b
}

func enrolment(t testing.TB, kind Kind) []byte {
	t.Helper()
	f, err := identity(t, kind, tsp).File(vaultKey(t, 0).Public(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLaw2AnIdentityShowsNoKey(t *testing.T) {
	id := identity(t, Concentrator, dc)
	text := strings.ToLower(fmt.Sprintf("%v %+v %#v %s %x %q", id, id, id, id, id, *id))
	for _, k := range []key.Key{id.KEK(), id.MAC()} {
		if strings.Contains(text, hex.EncodeToString(key.Reveal(k))[:8]) {
			t.Fatal("a verb shows a key")
		}
	}
	if strings.Contains(text, strings.ToLower(string(id.nkey()))) {
		t.Fatal("a verb shows the bus key")
	}
	if _, err := json.Marshal(id); err == nil {
		t.Fatal("an identity was marshalled")
	}
	path := filepath.Join(t.TempDir(), "bad.json")
	secret := hexKey(id.KEK())
	if err := os.WriteFile(path, []byte(`{"schema":"`+identitySchema+`","kek":"`+secret+`x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(path); err == nil || strings.Contains(err.Error(), secret[:6]) {
		t.Fatalf("want an error without the key, got %v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add(enrolment(f, Terminal))
	f.Add(enrolment(f, Concentrator))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := ParseFile(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseFile(out)
		if err != nil || again.Fingerprint() != file.Fingerprint() {
			t.Fatalf("a file that was read does not come back: %v", err)
		}
	})
}
