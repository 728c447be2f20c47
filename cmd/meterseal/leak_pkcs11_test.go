//go:build integration && pkcs11

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// leakToken makes a token for the processes of a test, and returns how a configuration names it.
func leakToken(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", write("softhsm2.conf", "directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"))
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "leak", "--pin", "123456", "--so-pin", "654321").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v: %s; install it: apt-get install softhsm2", err, out)
	}
	return fmt.Sprintf("pkcs11:token=leak?module-path=%s&pin-source=%s", softHSM(t), write("pin", "123456"))
}

// TestLaw1WithATokenNoKeyOfAMeterIsInTheHeapOfTheCentralSystem: the module of the token is C, and what it has in its own
// memory in the same process is the token's affair; SoftHSM is a token for tests. The Go heap is ours.
func TestLaw1WithATokenNoKeyOfAMeterIsInTheHeapOfTheCentralSystem(t *testing.T) {
	r := newRig(t)
	r.flags, r.central = []string{"--log-level", "debug"}, "vault: "+leakToken(t)+"\n"
	s := newStaffOn(t, r, wires{})
	s.mainJob()
	is := s.roles[2]
	heap, all := goHeap(t, is.cmd.Process.Pid), memory(t, is.cmd.Process.Pid)
	for _, one := range s.roles {
		one.stop()
	}
	h := newHunter()
	keys := held(t, s.path("meters"), s.meters)
	for name, k := range keys {
		h.add(name, k)
	}
	h.add("audit seed", auditSeed(t, s.path("is/vault.root")))
	f := &search{t, h}
	ccc := 0
	for name := range keys {
		if strings.HasSuffix(name, " CCC") {
			ccc++
		}
	}
	found := h.hunt(heap)
	if ccc != 2 || !strings.HasPrefix(strings.Join(found, " "), "audit seed (raw)") && !strings.Contains(strings.Join(found, ", "), "audit seed (raw)") {
		t.Errorf("%d CCCs to look for; the search must find the seed of the audit log in the heap: %v", ccc, found)
	}
	f.in("Go heap of the central system", heap, anyOf("audit seed", " CC_IS ")) // CC_IS where the token takes no counter of ours
	f.in("answers and errors of commands", []byte(s.said.String()), nothing)
	for i, one := range s.roles {
		f.in(fmt.Sprintf("log of role %d", i), []byte(one.log.String()), nothing)
	}
	t.Logf("%d keys; Go heap of %d bytes, process of %d; found in the heap: %v", len(keys), len(heap), len(all), found)
}

func auditSeed(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Audit string `json:"audit_seed"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return unhex(t, f.Audit)
}
