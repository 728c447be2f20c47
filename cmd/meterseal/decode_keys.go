package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/decode"
	"github.com/meterseal/meterseal/dlms/key"
)

// Bounds on a file of keys to decipher with.
const (
	maxDecodeKeysFile = 1 << 20
	maxDecodeKeys     = 1000
)

var errDecodeKeys = errors.New("keys file")

// loadDecodeKeys reads the keys to decipher with. A file that everybody can read is refused; one that a group can
// read is warned of. No error carries anything of the file but field names.
func loadDecodeKeys(path string) (keys []decode.Keys, warnings []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDecodeKeys, err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDecodeKeys, err)
	}
	mode := info.Mode()
	const others, group = 0o007, 0o070
	if mode.IsRegular() && mode.Perm()&others != 0 {
		return nil, nil, withHint(fmt.Errorf("%w: %s: mode %04o lets everybody at the keys", errDecodeKeys, path, mode.Perm()), "chmod 600 %s", path)
	}
	if mode.IsRegular() && mode.Perm()&group != 0 {
		warnings = append(warnings, fmt.Sprintf("%s: mode %04o lets a group at the keys: chmod 600 %s", path, mode.Perm(), path))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDecodeKeysFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDecodeKeys, err)
	}
	defer clear(b)
	if keys, err = parseDecodeKeys(b); err != nil {
		return nil, nil, withHint(fmt.Errorf("%w: %s: %w", errDecodeKeys, path, err),
			`the file is {"system_title": 16 hex digits, "unicast": 32, "authentication": 32, "dedicated": 32}, or a list of such`)
	}
	return keys, warnings, nil
}

// parseDecodeKeys reads one object or a list of them. encoding/json's own decoding into a struct is not used: it takes
// the last of two equal names and echoes values in its errors.
func parseDecodeKeys(b []byte) ([]decode.Keys, error) {
	if len(b) > maxDecodeKeysFile {
		return nil, fmt.Errorf("more than %d bytes", maxDecodeKeysFile)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	t, err := d.Token()
	if err != nil || t != json.Delim('{') && t != json.Delim('[') {
		return nil, errors.New("want a json object, or a list of objects")
	}
	var all []decode.Keys
	if t == json.Delim('{') {
		k, err := decodeKeysObject(d)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	for t == json.Delim('[') && d.More() {
		if open, err := d.Token(); err != nil || open != json.Delim('{') {
			return nil, fmt.Errorf("entry %d: want a json object", len(all)+1)
		}
		k, err := decodeKeysObject(d)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(all)+1, err)
		}
		if all = append(all, k); len(all) > maxDecodeKeys {
			return nil, fmt.Errorf("more than %d entries", maxDecodeKeys)
		}
	}
	if t == json.Delim('[') {
		if _, err := d.Token(); err != nil {
			return nil, errors.New("the list is not closed")
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the json value")
	}
	if len(all) == 0 {
		return nil, errors.New("the list is empty")
	}
	return all, nil
}

// decodeKeysObject reads the fields of one object, whose { has been read, up to its }.
func decodeKeysObject(d *json.Decoder) (k decode.Keys, err error) {
	seen := map[string]bool{}
	anyKey := false
	for d.More() {
		name, err := decodeKeysString(d)
		if err != nil {
			return decode.Keys{}, err
		}
		set, isKey := decodeKeysField(&k, name)
		if set == nil { // the name is not echoed: a key may stand in its place
			return decode.Keys{}, fmt.Errorf("unknown field before byte %d: want system_title, client_title, unicast (or ek), "+
				"authentication (or ak), dedicated, broadcast, master (or kek)", d.InputOffset())
		}
		if seen[decodeKeysName(name)] {
			return decode.Keys{}, fmt.Errorf("%s: given twice", name)
		}
		seen[decodeKeysName(name)] = true
		anyKey = anyKey || isKey
		text, err := decodeKeysString(d)
		if err != nil {
			return decode.Keys{}, fmt.Errorf("%s: %w", name, err)
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			return decode.Keys{}, fmt.Errorf("%s: want hexadecimal digits, got %d characters, not all of them one", name, len(text))
		}
		err = set(b)
		clear(b)
		if err != nil {
			return decode.Keys{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return decode.Keys{}, errors.New("the json object is not closed")
	}
	if !anyKey {
		return decode.Keys{}, errors.New("no key: want unicast, dedicated, broadcast or master")
	}
	return k, nil
}

func decodeKeysString(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", errors.New("not valid json")
	}
	s, ok := t.(string)
	if !ok {
		return "", errors.New("want a string of hexadecimal digits")
	}
	return s, nil
}

// decodeKeysName gives the two names of a field as one.
func decodeKeysName(name string) string {
	switch name {
	case "ek":
		return "unicast"
	case "ak":
		return "authentication"
	case "kek":
		return "master"
	}
	return name
}

// decodeKeysField returns what sets a field, nil for an unknown one, and whether it is a key that deciphers.
func decodeKeysField(k *decode.Keys, name string) (set func([]byte) error, isKey bool) {
	switch decodeKeysName(name) {
	case "system_title":
		return func(b []byte) (err error) { k.Title, err = dlms.SystemTitleFromBytes(b); return err }, false
	case "client_title":
		return func(b []byte) (err error) { k.Peer, err = dlms.SystemTitleFromBytes(b); return err }, false
	case "authentication":
		return func(b []byte) (err error) { k.Authentication, err = key.NewAuthentication(b); return err }, false
	case "unicast":
		return func(b []byte) (err error) { k.Unicast, err = key.NewUnicast(b); return err }, true
	case "broadcast":
		return func(b []byte) (err error) { k.Broadcast, err = key.NewUnicast(b); return err }, true
	case "dedicated":
		return func(b []byte) (err error) { k.Dedicated, err = key.NewDedicated(b); return err }, true
	case "master":
		return func(b []byte) (err error) { k.Master, err = key.NewMaster(b); return err }, true
	}
	return nil, false
}
