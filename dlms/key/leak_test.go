package key_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms/key"
)

// theKey has no byte or run of bytes that a test output would hold by chance.
var theKey = []byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6")

// holder is how a careless program keeps a key: exported, unexported, behind a pointer, in an interface.
type holder struct {
	Exported   key.Unicast
	unexported key.Unicast
	pointer    *key.Unicast
	any        any
	List       []key.Unicast
	Map        map[string]key.Unicast
}

func everyRole(t *testing.T) []key.Key {
	t.Helper()
	var out []key.Key
	add := func(k key.Key, err error) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, k)
	}
	add(key.NewMaster(theKey))
	add(key.NewUnicast(theKey))
	add(key.NewAuthentication(theKey))
	add(key.NewDedicated(theKey))
	add(key.NewWrapping(theKey))
	add(key.NewMAC(theKey))
	add(key.NewDerived(theKey))
	return out
}

// carriers returns everything a key may hide in when somebody prints or marshals.
func carriers(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, k := range everyRole(t) {
		out[fmt.Sprintf("%T", k)] = k
		p := reflect.New(reflect.TypeOf(k))
		p.Elem().Set(reflect.ValueOf(k))
		out[p.Type().String()] = p.Interface()
	}
	u := unicast(t, theKey)
	h := holder{Exported: u, unexported: u, pointer: &u, any: u, List: []key.Unicast{u}, Map: map[string]key.Unicast{"k": u}}
	aead, err := u.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	out["holder"], out["*holder"] = h, &h
	out["aead"], out["struct with aead"] = aead, struct{ A any }{aead}
	sec := secret(t, theKey)
	out["secret"], out["*secret"], out["struct with secret"] = sec, &sec, struct{ s key.Secret }{sec}
	return out
}

func TestNoFormatVerbShowsAKey(t *testing.T) {
	for name, v := range carriers(t) {
		for verb := ' '; verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "20.30", "[1]"} {
				mustNotShow(t, name+" "+flags+string(verb), fmt.Appendf(nil, "%"+flags+string(verb), v))
			}
		}
		mustNotShow(t, name+" Sprint", []byte(fmt.Sprint(v)+fmt.Sprintln(v)))
		mustNotShow(t, name+" Errorf", []byte(fmt.Errorf("%w: %v", key.ErrWeak, v).Error()))
	}
}

func TestNoLogShowsAKey(t *testing.T) {
	for name, v := range carriers(t) {
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			log := slog.New(h)
			log.Info("x", "key", v, slog.Group("g", "key", v))
			log.With("key", v).WithGroup("g").Error("x", "err", fmt.Errorf("%v", v))
		}
		mustNotShow(t, name, b.Bytes())
	}
}

func TestNoEncodingShowsAKey(t *testing.T) {
	for name, v := range carriers(t) {
		var b bytes.Buffer
		_ = json.NewEncoder(&b).Encode(v) // refusals are checked below; here only what came out counts
		_ = xml.NewEncoder(&b).Encode(v)
		_ = gob.NewEncoder(&b).Encode(v)
		mustNotShow(t, name, b.Bytes())
	}
}

func TestMarshallingAKeyIsRefusedAndSoIsUnmarshalling(t *testing.T) {
	for _, k := range everyRole(t) {
		for name, marshal := range map[string]func(any) error{
			"json": func(v any) error { _, err := json.Marshal(v); return err },
			"xml":  func(v any) error { _, err := xml.Marshal(v); return err },
			"gob":  func(v any) error { return gob.NewEncoder(new(bytes.Buffer)).Encode(v) },
		} {
			if err := marshal(k); !errors.Is(err, key.ErrRedacted) {
				t.Errorf("%s of %T: want ErrRedacted, got %v", name, k, err)
			}
		}
	}
	var k key.Unicast
	if err := json.Unmarshal([]byte(`"00112233445566778899AABBCCDDEEFF"`), &k); !errors.Is(err, key.ErrRedacted) {
		t.Errorf("unmarshal: want ErrRedacted, got %v", err)
	}
	if err := json.Unmarshal([]byte(`{}`), &k); err == nil {
		t.Error("unmarshal: an empty object is taken for a key")
	}
}

func TestReflectionFindsNoKeyBytes(t *testing.T) {
	for name, v := range carriers(t) {
		var b bytes.Buffer
		walk(&b, reflect.ValueOf(v), map[uintptr]bool{}, 0)
		mustNotShow(t, name, b.Bytes())
	}
	// go-cmp prints what it compares, unexported fields included.
	a, b := holder{unexported: unicast(t, theKey)}, holder{}
	diff := cmp.Diff(a, b, cmp.Exporter(func(reflect.Type) bool { return true }))
	if diff == "" {
		t.Error("cmp finds a key equal to none")
	}
	mustNotShow(t, "cmp", []byte(diff))
}

func TestWalkWouldFindAKeyInAnOrdinaryField(t *testing.T) {
	var b bytes.Buffer
	walk(&b, reflect.ValueOf(struct{ inner struct{ k [16]byte } }{struct{ k [16]byte }{[16]byte(theKey)}}), map[uintptr]bool{}, 0)
	if !shows(b.Bytes()) {
		t.Fatal("the walk of these tests finds nothing at all")
	}
}

// walk writes every byte, string and integer that reflection reaches, unexported fields included.
func walk(out *bytes.Buffer, v reflect.Value, seen map[uintptr]bool, depth int) {
	if !v.IsValid() || depth > 40 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		walk(out, v.Elem(), seen, depth+1)
	case reflect.Interface:
		walk(out, v.Elem(), seen, depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			walk(out, v.Field(i), seen, depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(out, v.Index(i), seen, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			walk(out, it.Key(), seen, depth+1)
			walk(out, it.Value(), seen, depth+1)
		}
	case reflect.String:
		out.WriteString(v.String())
	case reflect.Uint8:
		out.WriteByte(byte(v.Uint()))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint, reflect.Uintptr:
		writeWord(out, v.Uint())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		writeWord(out, uint64(v.Int()))
	}
}

// writeWord writes a word in both byte orders: key schedules are arrays of words.
func writeWord(out *bytes.Buffer, w uint64) {
	for i := range 4 {
		out.WriteByte(byte(w >> (8 * i)))
	}
	for i := range 4 {
		out.WriteByte(byte(w >> (24 - 8*i)))
	}
}

func mustNotShow(t *testing.T, what string, out []byte) {
	t.Helper()
	if shows(out) {
		t.Errorf("%s shows the key: %q", what, out)
	}
}

// shows reports whether out holds four bytes in a row of the key in any usual form.
func shows(out []byte) bool {
	for i := 0; i+4 <= len(theKey); i++ {
		part := theKey[i : i+4]
		decimal := strings.Trim(fmt.Sprint(part), "[]")
		for _, form := range []string{
			string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
			fmt.Sprintf("% x", part), decimal, strings.ReplaceAll(decimal, " ", ", "), strings.ReplaceAll(decimal, " ", ","),
			strings.Trim(fmt.Sprintf("%q", part), `"`), strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
		} {
			if bytes.Contains(out, []byte(form)) {
				return true
			}
		}
	}
	return bytes.Contains(out, []byte(base64.StdEncoding.EncodeToString(theKey)[:8]))
}

func unicast(t *testing.T, b []byte) key.Unicast {
	t.Helper()
	k, err := key.NewUnicast(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
