package enrol

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/transport"
)

// FileSchema names the form of an enrolment file.
const FileSchema = "meterseal enrolment 2"

// File is what a device hands to the central system to be enrolled. It holds no secret in clear. Whoever carries it
// could put a file of his own in its place: compare the fingerprints.
type File struct {
	Schema     string           `json:"schema"`
	Kind       Kind             `json:"kind"`
	Title      dlms.SystemTitle `json:"system_title"`
	NKeyPublic string           `json:"nkey_public,omitempty"` // concentrators: the public key on the bus
	// Vault is whom the two keys are sealed to; KEK and MAC are wrapped under the key in it (RFC 3394, 24 bytes each).
	Vault transport.Envelope `json:"vault"`
	KEK   []byte             `json:"kek"`
	MAC   []byte             `json:"mac"`
}

// Check refuses a file that cannot be right, before any key is used on it.
func (f File) Check() error {
	if f.Schema != FileSchema {
		return fmt.Errorf("enrolment file: want schema %q, got %q", FileSchema, f.Schema)
	}
	if err := f.Kind.check(); err != nil {
		return fmt.Errorf("enrolment file: %w", err)
	}
	switch {
	case f.Title.IsZero():
		return errors.New("enrolment file: want a system title")
	case f.Kind == Concentrator && !nkeys.IsValidPublicUserKey(f.NKeyPublic):
		return errors.New("enrolment file: want the public bus key of the concentrator (U...)")
	case f.Kind != Concentrator && f.NKeyPublic != "":
		return fmt.Errorf("enrolment file: a %s has no bus key", f.Kind)
	case len(f.KEK) != wrappedSize || len(f.MAC) != wrappedSize:
		return fmt.Errorf("enrolment file: want two sealed keys of %d bytes", wrappedSize)
	}
	if err := f.Vault.Check(); err != nil {
		return fmt.Errorf("enrolment file: %w", err)
	}
	return nil
}

// Fingerprint is shown on both sides for a person to compare: 125 bits of SHA-256 over the whole file, in five
// groups of five letters and digits.
func (f File) Fingerprint() string {
	h := sha256.Sum256(key.Framed([]byte(f.Schema), []byte(f.Kind), f.Title[:], []byte(f.NKeyPublic),
		[]byte(f.Vault.To), []byte(f.Vault.Scheme), f.Vault.Key, f.KEK, f.MAC))
	s := base32.StdEncoding.EncodeToString(h[:])[:25]
	return strings.Join([]string{s[:5], s[5:10], s[10:15], s[15:20], s[20:]}, "-")
}

// wrappedSize is a key of 16 bytes under AES key wrap.
const wrappedSize = key.Size + key.WrapOverhead

// OpenKeys opens the device's two keys, in a vault that has its transport key in memory.
func (f File) OpenKeys(vault transport.Private) (key.Wrapping, key.MAC, error) {
	kek, mac, err := f.openKeys(vault)
	if err != nil {
		return key.Wrapping{}, key.MAC{}, fmt.Errorf("enrolment file of %s: %w", f.Title, err)
	}
	return kek, mac, nil
}

func (f File) openKeys(vault transport.Private) (kek key.Wrapping, mac key.MAC, err error) {
	if err := f.Vault.For(vault.Public()); err != nil {
		return kek, mac, err
	}
	under, err := vault.UnwrapKey(f.Vault.Key)
	if err != nil {
		return kek, mac, err
	}
	if kek, err = under.UnwrapWrapping(f.KEK); err != nil {
		return kek, mac, err
	}
	if mac, err = under.UnwrapMAC(f.MAC); err != nil {
		return kek, mac, err
	}
	if kek.Weak() || mac.Weak() || kek.Fingerprint() == mac.Fingerprint() {
		return kek, mac, errors.New("weak keys")
	}
	return kek, mac, nil
}

// Write writes the file to a new path.
func (f File) Write(path string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("write enrolment file: %w", err)
	}
	if err := durable.Create(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write enrolment file: %w", err)
	}
	return nil
}

// ReadFile reads and checks an enrolment file.
func ReadFile(path string) (File, error) {
	r, err := os.Open(path)
	if err != nil {
		return File{}, fmt.Errorf("read enrolment file: %w", err)
	}
	b, err := readBounded(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return File{}, fmt.Errorf("read enrolment file %s: %w", path, err)
	}
	return ParseFile(b)
}

// ParseFile reads and checks the bytes of an enrolment file. Unknown fields are refused.
func ParseFile(b []byte) (File, error) {
	if len(b) > maxFile {
		return File{}, fmt.Errorf("enrolment file: longer than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var f File
	if err := dec.Decode(&f); err != nil {
		return File{}, fmt.Errorf("enrolment file: %w", err)
	}
	if dec.More() {
		return File{}, errors.New("enrolment file: something follows it")
	}
	return f, f.Check()
}
