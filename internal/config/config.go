// Package config reads the configuration file of a role: YAML into a documented struct, strictly. A field that the
// struct does not have, a value of the wrong type or a second document is an error that names the line. Secrets are
// not values but paths of files, read by [Secret].
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/meterseal/meterseal/internal/durable"
)

// Bounds on what is read, in bytes.
const (
	maxFile   = 1 << 20
	maxSecret = 4 << 10
)

// Validator is a configuration that checks itself. Load calls it.
type Validator interface{ Validate() error }

// Load reads the file into into, a pointer to a struct that may hold defaults. Fields that the file does not name
// keep them.
func Load(path string, into any) error {
	b, err := read(path, maxFile)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := Parse(b, into); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// Parse reads the bytes of a configuration file.
func Parse(b []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	err := dec.Decode(into)
	if err != nil && !errors.Is(err, io.EOF) { // an empty file is all defaults
		return fmt.Errorf("%w; compare with the documented fields", err)
	}
	var more any
	if err == nil && !errors.Is(dec.Decode(&more), io.EOF) {
		return errors.New("a second document follows the first; want one")
	}
	if v, ok := into.(Validator); ok {
		return v.Validate()
	}
	return nil
}

// Secret reads the file of a secret and cuts one line end off. A file that others can read, or an empty one, is
// refused. Errors never hold a piece of it.
func Secret(path string) ([]byte, error) {
	b, err := durable.ReadPrivate(path, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, fmt.Errorf("secret %s: it is empty", path)
	}
	return b, nil
}

// Beside returns a path of a configuration file: relative ones are meant from the directory of the file that names
// them.
func Beside(configFile, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(configFile), path)
}

func read(path string, limit int64) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b, err
}
