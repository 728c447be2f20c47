// Package leaktest tries to get a secret out of a value in every way that a careless program would: it prints, logs,
// marshals and walks it, alone and within others, and looks for the secret in what comes out.
package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// run is how many bytes in a row of a secret are taken for a leak: too many to be there by chance.
const run = 8

// Uncomparable fails the test if a type compares with ==: that takes a time that depends on what is in it. What does not
// compare is no key of a map either, and the compiler says so.
func Uncomparable(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		kind := reflect.TypeOf(v)
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Comparable() {
			t.Errorf("%s compares with ==", kind)
		}
	}
}

// Never fails the test if a value shows a secret. What a method gives out by its name is no leak.
func Never(t *testing.T, value any, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		if len(s) < run {
			t.Fatalf("leaktest: a secret of %d bytes: want at least %d", len(s), run)
		}
	}
	for name, v := range carriers(value) {
		for _, way := range ways {
			out := way.try(v)
			for _, s := range secrets {
				if form := shown(out, s); form != "" {
					t.Errorf("%s of %T, %s, shows a secret: %s", way.name, value, name, form)
				}
			}
		}
	}
}

// careless is how others keep a value.
type careless struct {
	Exported   any
	unexported any
}

// carriers are the value, what it points to, and what holds it.
func carriers(value any) map[string]any {
	out := map[string]any{
		"alone": value, "in a list": []any{value}, "in a map": map[string]any{"k": value},
		"in a field": careless{Exported: value}, "in an unexported field": careless{unexported: value},
		"behind a pointer": &careless{value, value},
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && !v.IsNil() {
		holder := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Inner", Type: v.Type().Elem()}}))
		holder.Elem().Field(0).Set(v.Elem())
		out["as a field of its own type"] = holder.Elem().Interface()
	}
	return out
}

// ways are what is tried. Their errors do not matter: a refusal shows nothing.
var ways = []struct {
	name string
	try  func(v any) []byte
}{
	{"a format verb", func(v any) []byte {
		var b []byte
		for verb := ' '; verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#"} {
				b = fmt.Appendf(b, "%"+flags+string(verb)+"\n", v)
			}
		}
		return fmt.Appendln(b, v, fmt.Errorf("%w", fmt.Errorf("%v", v)))
	}},
	{"a log", func(v any) []byte {
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).With("a", v).WithGroup("g").Info("x", "v", v, slog.Group("g", "v", v))
		}
		return b.Bytes()
	}},
	{"an encoding", func(v any) []byte {
		var b bytes.Buffer
		_ = json.NewEncoder(&b).Encode(v)
		_ = xml.NewEncoder(&b).Encode(v)
		_ = gob.NewEncoder(&b).Encode(v)
		return b.Bytes()
	}},
	{"a walk by reflection", func(v any) []byte {
		var b bytes.Buffer
		walk(&b, reflect.ValueOf(v), map[uintptr]bool{}, 0)
		return b.Bytes()
	}},
}

// shown returns the form in which part of a secret is in out, "" if it is not.
func shown(out, secret []byte) string {
	for i := 0; i+run <= len(secret); i += run {
		part := secret[i : i+run]
		decimal := strings.Trim(fmt.Sprint(part), "[]")
		for _, form := range []string{
			string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)), fmt.Sprintf("% x", part),
			decimal, strings.ReplaceAll(decimal, " ", ", "), strings.ReplaceAll(decimal, " ", ","),
			strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
		} {
			if bytes.Contains(out, []byte(form)) {
				return fmt.Sprintf("byte %d of %d", i, len(secret))
			}
		}
	}
	if bytes.Contains(out, []byte(base64.StdEncoding.EncodeToString(secret)[:run])) {
		return "base64"
	}
	return ""
}

// walk writes every byte, string and number that reflection reaches, unexported fields included.
func walk(out *bytes.Buffer, v reflect.Value, seen map[uintptr]bool, depth int) {
	const deep = 30
	if !v.IsValid() || depth > deep {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.Pointer()] {
			seen[v.Pointer()] = true
			walk(out, v.Elem(), seen, depth+1)
		}
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
		word(out, v.Uint())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		word(out, uint64(v.Int()))
	default: // functions and channels: nothing reaches into them
	}
}

// word writes a number in both byte orders: key schedules and large numbers are arrays of words.
func word(out *bytes.Buffer, w uint64) {
	for i := range 8 {
		out.WriteByte(byte(w >> (8 * i)))
	}
	for i := range 8 {
		out.WriteByte(byte(w >> (56 - 8*i)))
	}
}
