//go:build integration && pkcs11

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// softHSM finds the module where Debian and others put it.
func softHSM(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("no SoftHSM on this machine: apt-get install softhsm2 (make setup says so too)")
	return ""
}

// TestTheRunbookOfADeadHSM has the vault in a token, of which there is a copy, and takes the token away.
func TestTheRunbookOfADeadHSM(t *testing.T) {
	module := softHSM(t)
	s := &staff{rig: newRig(t)}
	s.write("tokens/.keep", "")
	s.write("softhsm2.conf", "directories.tokendir = "+s.path("tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n")
	t.Setenv("SOFTHSM2_CONF", s.path("softhsm2.conf"))
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "meterseal", "--so-pin", "officer-1", "--pin", "20261103").CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	s.write("pin", "20261103\n")
	b := prepared(t, s, "dead-hsm.md", "vault: pkcs11:token=meterseal?module-path="+module+"&pin-source=pin\n",
		`"kind": "software"`, `"kind": "pkcs11", "token": {"module": "`+module+`", "label": "meterseal", "pin_file": "pin"}`)
	if out, err := exec.Command("cp", "-r", s.path("tokens"), s.path("spare-tokens")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.central.kill()
	if err := os.RemoveAll(s.path("tokens")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path("tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.follow()
	b.rollcall()
}
