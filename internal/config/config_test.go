package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Listen  string        `yaml:"listen"`
	Timeout time.Duration `yaml:"timeout"`
	Meters  int           `yaml:"meters"`
	Bus     struct {
		URL string `yaml:"url"`
	} `yaml:"bus"`
}

var errNoMeters = errors.New("meters: want at least 1")

func (s *sample) Validate() error {
	if s.Meters < 1 {
		return errNoMeters
	}
	return nil
}

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadKeepsDefaultsOfFieldsThatTheFileDoesNotName(t *testing.T) {
	c := sample{Timeout: time.Second, Meters: 3}
	if err := Load(write(t, "listen: 127.0.0.1:1\nbus:\n  url: nats://x\n", 0o600), &c); err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1" || c.Timeout != time.Second || c.Meters != 3 || c.Bus.URL != "nats://x" {
		t.Fatalf("got %+v", c)
	}
	if err := Load(write(t, "", 0o600), &c); err != nil {
		t.Fatalf("an empty file: %v", err)
	}
}

func TestLoadRefusesWhatTheStructDoesNotHaveAndNamesTheLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":        {"meters: 1\nlisen: x\n", "line 2: field lisen not found"},
		"unknown nested field": {"meters: 1\nbus:\n  ulr: x\n", "line 3: field ulr not found"},
		"wrong type":           {"meters: many\n", "line 1"},
		"field twice":          {"meters: 1\nmeters: 2\n", "already"},
		"second document":      {"meters: 1\n---\nmeters: 2\n", "second document"},
		"not yaml":             {"{", "line 1"},
		"alias bomb":           {"a: &a [x,x]\nmeters: 1\n", "field a not found"},
		"too long":             {strings.Repeat("#", maxFile+1), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Load(write(t, c.text, 0o600), &sample{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

func TestLoadAsksTheConfigurationItself(t *testing.T) {
	if err := Load(write(t, "meters: 0\n", 0o600), &sample{}); !errors.Is(err, errNoMeters) {
		t.Fatalf("want the validator's error, got %v", err)
	}
}

func TestLoadSaysWhichFileIsMissing(t *testing.T) {
	err := Load("/nowhere/central.yaml", &sample{})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/central.yaml") {
		t.Fatalf("got %v", err)
	}
}

func TestSecretRefusesAFileThatOthersCanRead(t *testing.T) {
	if _, err := Secret(write(t, "hunter2\n", 0o640)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("want a refusal without the secret, got %v", err)
	}
	if _, err := Secret(write(t, "\n", 0o600)); err == nil {
		t.Fatal("an empty secret was accepted")
	}
	b, err := Secret(write(t, "hunter2\r\n", 0o600))
	if err != nil || string(b) != "hunter2" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestBesideMeansRelativePathsFromTheConfiguration(t *testing.T) {
	for in, want := range map[string]string{"": "", "keys/a": "/etc/meterseal/keys/a", "/abs": "/abs"} {
		if got := Beside("/etc/meterseal/central.yaml", in); got != want {
			t.Errorf("%q: want %q, got %q", in, want, got)
		}
	}
}
