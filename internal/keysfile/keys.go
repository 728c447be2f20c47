package keysfile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/durable"
)

// maxKeysFile bounds what is read: four short fields.
const maxKeysFile = 64 << 10

// ErrKeys is returned for a keys file that is not what it should be. No text of it carries a byte of a key.
var ErrKeys = errors.New("keys file")

// Keys is the content of a keys file.
type Keys struct {
	// SystemTitle is the meter's.
	SystemTitle dlms.SystemTitle
	// EK is the global unicast encryption key.
	EK key.Unicast
	// KEK is the master key. A client that delivers no keys has none.
	KEK key.Master
	// AK is the authentication key, unset where none is in use.
	AK key.Authentication
	// Warnings say what is doubtful about the file and yet no error, for a person to read.
	Warnings []string
}

// Load reads a keys file: a JSON object with system_title, ek, kek and, where one is in use, ak, all in hexadecimal.
// kek may be absent for a client; see [Keys.NeedMaster]. Anything else in the file is refused.
func Load(path string) (*Keys, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeysFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	defer clear(b)
	k, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		k.warn("%s: mode %04o lets others at the keys: chmod 600 %s", path, mode, path)
	}
	return k, nil
}

// Parse reads the content of a keys file.
func Parse(b []byte) (*Keys, error) {
	if len(b) > maxKeysFile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrKeys, maxKeysFile)
	}
	fields, err := parseFields(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	k := new(Keys)
	if err := k.fill(fields); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	k.doubts()
	return k, nil
}

// NeedMaster refuses a file without a master key: a meter cannot be given new keys without one.
func (k *Keys) NeedMaster() error {
	if k.KEK.IsZero() {
		return fmt.Errorf("%w: kek: want 32 hexadecimal digits, it is absent", ErrKeys)
	}
	return nil
}

// Write creates or replaces the keys file at path, for the owner's eyes only. A reader sees the old file or the
// new one, whole.
func (k *Keys) Write(path string) error {
	text := map[string]string{"system_title": k.SystemTitle.String()}
	for name, v := range map[string]key.Key{"ek": k.EK, "kek": k.KEK, "ak": k.AK} {
		if !v.IsZero() {
			text[name] = hex.EncodeToString(key.Reveal(v))
		}
	}
	b, err := json.MarshalIndent(text, "", "  ")
	if err != nil {
		return fmt.Errorf("%w: cannot be written as json", ErrKeys)
	}
	defer clear(b)
	if err := durable.Replace(path, append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrKeys, err)
	}
	return nil
}

func (k *Keys) fill(fields map[string][]byte) error {
	title, err := dlms.SystemTitleFromBytes(fields["system_title"])
	if err != nil || title.IsZero() {
		return fmt.Errorf("system_title: want 16 hexadecimal digits, not all zero")
	}
	k.SystemTitle = title
	if k.EK, err = key.NewUnicast(fields["ek"]); err != nil {
		return fmt.Errorf("ek: %w", err)
	}
	if b, ok := fields["kek"]; ok {
		if k.KEK, err = key.NewMaster(b); err != nil {
			return fmt.Errorf("kek: %w", err)
		}
	}
	if b, ok := fields["ak"]; ok {
		if k.AK, err = key.NewAuthentication(b); err != nil {
			return fmt.Errorf("ak: %w", err)
		}
	}
	for _, b := range fields {
		clear(b)
	}
	return nil
}

func (k *Keys) warn(format string, args ...any) {
	k.Warnings = append(k.Warnings, fmt.Sprintf(format, args...))
}

// doubts names what a test bench may do and a fleet may not.
func (k *Keys) doubts() {
	prints := map[key.Fingerprint]string{}
	for _, v := range []struct {
		name string
		key  key.Key
	}{{"ek", k.EK}, {"kek", k.KEK}, {"ak", k.AK}} {
		if v.key.IsZero() {
			continue
		}
		if v.key.Weak() {
			k.warn("%s: 16 equal bytes: fit for a test bench only", v.name)
		}
		if other, seen := prints[v.key.Fingerprint()]; seen {
			k.warn("%s and %s are the same key: fit for a test bench only", other, v.name)
		}
		prints[v.key.Fingerprint()] = v.name
	}
}

// parseFields reads one flat JSON object of hexadecimal strings. encoding/json's own decoding into a struct is not
// used: it takes the last of two equal names, matches names in any case, and echoes numbers in its errors.
func parseFields(b []byte) (map[string][]byte, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("want a json object")
	}
	fields := map[string][]byte{}
	for d.More() {
		name, err := fieldName(d)
		if err != nil {
			return nil, err
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%s: given twice", name)
		}
		if fields[name], err = fieldValue(d, name); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("the json object is not closed")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the json object")
	}
	return fields, nil
}

func fieldName(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", errors.New("not valid json")
	}
	switch name, _ := t.(string); name {
	case "system_title", "ek", "kek", "ak":
		return name, nil
	}
	// The name is not echoed: a key may stand in its place.
	return "", fmt.Errorf("unknown field before byte %d: want system_title, ek, kek, ak", d.InputOffset())
}

func fieldValue(d *json.Decoder, name string) ([]byte, error) {
	t, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("%s: not valid json", name)
	}
	s, ok := t.(string)
	if !ok {
		return nil, fmt.Errorf("%s: want a string of hexadecimal digits", name)
	}
	v, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%s: want an even number of hexadecimal digits, got %d characters, not all of them one", name, len(s))
	}
	return v, nil
}
