package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// hunter looks for secrets in bytes of any kind: as they are, in hexadecimal of either case, in base64 of either alphabet
// wherever it began.
type hunter struct {
	first    [1 << 16]bool
	patterns map[uint64][]quarry // by their first 8 bytes
}

// quarry is one form of one secret.
type quarry struct {
	name, form string
	bytes      []byte
}

func newHunter() *hunter { return &hunter{patterns: map[uint64][]quarry{}} }

// add takes a secret of at least 16 bytes.
func (h *hunter) add(name string, secret []byte) {
	text := hex.EncodeToString(secret)
	h.form(name, "raw", secret)
	h.form(name, "hex", []byte(text))
	h.form(name, "HEX", []byte(strings.ToUpper(text)))
	for alphabet, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
		for before := range 3 {
			// The characters that hold bits of the secret alone: what stands before and after it shares the outer ones.
			all := e.EncodeToString(append(make([]byte, before), secret...))
			from, to := (8*before+5)/6, 8*(before+len(secret))/6
			h.form(name, fmt.Sprintf("%s at %d", alphabet, before), []byte(all[from:to]))
		}
	}
}

func (h *hunter) form(name, form string, b []byte) {
	h.first[binary.LittleEndian.Uint16(b)] = true
	at := binary.LittleEndian.Uint64(b)
	h.patterns[at] = append(h.patterns[at], quarry{name, form, b})
}

// hunt returns what is in b, each once: "name (form)".
func (h *hunter) hunt(b []byte) (found []string) {
	for i := 0; i+8 <= len(b); i++ {
		if !h.first[binary.LittleEndian.Uint16(b[i:])] {
			continue
		}
		for _, q := range h.patterns[binary.LittleEndian.Uint64(b[i:])] {
			if i+len(q.bytes) <= len(b) && string(b[i:i+len(q.bytes)]) == string(q.bytes) {
				found = append(found, q.name+" ("+q.form+")")
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestTheHunterFindsAPlantedKeyInEveryForm proves the test of leaks: one that finds nothing is worth nothing.
func TestTheHunterFindsAPlantedKeyInEveryForm(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	noise := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b) // it never fails
		return b
	}
	h := newHunter()
	secrets := map[string][]byte{}
	for i := range 40 {
		name := fmt.Sprintf("key %d", i)
		secrets[name] = noise(16)
		h.add(name, secrets[name])
	}
	for name, s := range secrets {
		for n := range 9 {
			before, after := noise(n), noise(20)
			clear := append(append(slices.Clone(before), s...), after...)
			for form, planted := range map[string][]byte{
				"raw": clear, "hex": []byte(hex.EncodeToString(clear)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(clear))),
				"base64": []byte(base64.StdEncoding.EncodeToString(clear)), "base64url": []byte(base64.URLEncoding.EncodeToString(clear)),
			} {
				got := h.hunt(append(append(noise(1000), planted...), noise(1000)...))
				if len(got) != 1 || !strings.HasPrefix(got[0], name+" ("+form) {
					// Where the two alphabets agree both are named.
					if !(strings.HasPrefix(form, "base64") && len(got) == 2 && strings.HasPrefix(got[0], name+" (base64")) {
						t.Fatalf("%s in %s after %d bytes: got %v", name, form, n, got)
					}
				}
			}
		}
	}
	if got := h.hunt(noise(1 << 20)); len(got) != 0 {
		t.Errorf("in noise: got %v", got)
	}
	for name, s := range secrets {
		if got := h.hunt(s[:15]); len(got) != 0 {
			t.Errorf("%s, cut: got %v", name, got)
		}
	}
}
