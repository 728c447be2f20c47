package dlmstest

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Vector is one published test vector.
type Vector struct {
	// Name says what it shows.
	Name string `json:"name"`
	// Source names where it was published.
	Source string `json:"source"`
	// Refused is, for a negative vector, a part of the expected refusal; empty for a positive one.
	Refused string `json:"refused,omitempty"`
	// Values are the fields, bytes in hexadecimal.
	Values map[string]string `json:"values"`

	file string
}

// LoadVectors reads every .json file of dir, each a list of vectors. It fails t when it finds no file, an empty
// file, an unknown field, or a vector without a name, source or values.
func LoadVectors(t TB, dir string) []Vector {
	t.Helper()
	vectors, err := readVectors(dir)
	if err != nil {
		t.Fatalf("load vectors: %v", err)
	}
	return vectors
}

func readVectors(dir string) ([]Vector, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no .json file", dir)
	}
	var all []Vector
	for _, file := range files {
		vectors, err := readVectorFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, vectors...)
	}
	return all, nil
}

func readVectorFile(file string) ([]Vector, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var vectors []Vector
	if err := d.Decode(&vectors); err != nil {
		return nil, err
	}
	if len(vectors) == 0 {
		return nil, fmt.Errorf("no vector")
	}
	for i := range vectors {
		v := &vectors[i]
		if v.Name == "" || v.Source == "" || len(v.Values) == 0 {
			return nil, fmt.Errorf("vector %d: want name, source and values", i)
		}
		v.file = filepath.Base(file)
	}
	return vectors, nil
}

// String names the vector and its file.
func (v Vector) String() string { return strings.TrimSuffix(v.file, ".json") + "/" + v.Name }

// Has reports whether the vector has the field.
func (v Vector) Has(field string) bool {
	_, ok := v.Values[field]
	return ok
}

// Text returns a field and fails t when there is none.
func (v Vector) Text(t TB, field string) string {
	t.Helper()
	s, ok := v.Values[field]
	if !ok {
		t.Fatalf("vector %s: no field %q", v, field)
	}
	return s
}

// Bytes returns a field in hexadecimal, in which spaces are skipped.
func (v Vector) Bytes(t TB, field string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(v.Text(t, field), " ", ""))
	if err != nil {
		t.Fatalf("vector %s: field %q: %v", v, field, err)
	}
	return b
}

// Uint returns a field of up to 8 bytes in hexadecimal as a number.
func (v Vector) Uint(t TB, field string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(v.Text(t, field), 16, 64)
	if err != nil {
		t.Fatalf("vector %s: field %q: %v", v, field, err)
	}
	return n
}
