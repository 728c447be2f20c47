package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// custody lets two key custodians in, on a system at rest.
func (r *rig) custody() {
	r.t.Helper()
	for _, name := range []string{"carol", "dave"} {
		r.write("custody/.keep", "")
		r.ok("central people add " + name + " --role key-custodian --config central.yaml --out custody/" + name + ".pem")
	}
}

// dual has carol ask for what takes two people, dave approve it, and carol do it.
func (r *rig) dual(line string) *outcome {
	r.t.Helper()
	asked := r.exits(exitFailed, line+" --as custody/carol.pem").silent().stderr("wants a second person")
	id := regexp.MustCompile(`approve give (\S+?)'`).FindStringSubmatch(asked.errOut)
	if id == nil {
		r.t.Fatalf("no approval in %s", asked.errOut)
	}
	r.exits(exitFailed, "approve give "+id[1]+" --reason self --config central.yaml --as custody/carol.pem").silent()
	r.ok("approve give " + id[1] + " --reason seen --config central.yaml --as custody/dave.pem")
	return r.ok(line + " --as custody/carol.pem")
}

// TestARootIsRotatedRetiredAndRestored goes from the first term to the second, with the program alone.
func TestARootIsRotatedRetiredAndRestored(t *testing.T) {
	r := newVault(t, "passphrase_file: pass\n")
	r.custody()
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.ok("vault root --config central.yaml").stdout("^1 +seals")
	r.exits(exitUsage, "vault rotate-root --config central.yaml").stderr("missing: --reason")
	r.exits(exitUsage, "vault retire-term x --backup late --config central.yaml").stderr("N: want the number")
	r.exits(exitUsage, "vault retire-term 1 --config central.yaml").stderr("one of --backup and --backed-up-at")
	r.exits(exitFailed, "vault rotate-root --reason copied --config central.yaml").silent().stderr("key-custodian")
	r.exits(exitFailed, "vault retire-term 1 --backup late --config central.yaml").silent().stderr("key-custodian")
	r.dual("vault rotate-root --reason copied --wait --config central.yaml").
		stdout("^2 +seals").stdout("every row is under term 2").stderr("rows sealed anew: 8 of 8")
	r.ok("vault backup after --config central.yaml --as custody/carol.pem")
	r.dual("vault retire-term 1 --backup after --config central.yaml").stdout("^1 +retired").stdout("^2 +seals")
	r.ok("central import shipment.jsonl --config central.yaml").stdout("0 imported, 2 unchanged")
	is.stop()

	// A backup from before is worth nothing with the root as it is, and one from after all.
	r.ok("vault drill after --journal disk2/key.journal --config central.yaml").stdout("2 meters complete, 8 keys")
	r.exits(exitFailed, "vault drill late --root is/vault.root --journal disk2/key.journal --config central.yaml").silent().stderr("term 1: this term of the root was retired")
	if err := os.Rename(r.path("is/meterseal.db"), r.path("gone.db")); err != nil {
		t.Fatal(err)
	}
	for _, tail := range []string{"-wal", "-shm"} {
		_ = os.Remove(r.path("is/meterseal.db" + tail))
	}
	both := func(backup string) string {
		return r.stands("alice", backup, "--config central.yaml") + r.stands("bob", backup, "--config central.yaml")
	}
	r.exits(exitFailed, "vault restore late --journal disk2/key.journal --config central.yaml"+both("late")).silent().stderr("retired")
	r.ok("vault restore after --journal disk2/key.journal --config central.yaml" + both("after")).stdout("2 meters and 8 keys")
	is, _ = r.serve("central --config central.yaml", "central system is up")
	r.ok("vault root --config central.yaml --json").member("finished")
	is.stop()
}

// TestThePassphraseIsChangedAndOldBackupsOpenWithTheOldOne changes it, and rotates the root under the new one.
func TestThePassphraseIsChangedAndOldBackupsOpenWithTheOldOne(t *testing.T) {
	r := newVault(t, "passphrase_file: pass\n")
	r.custody()
	r.write("new", "tr0ub4dor\n")
	r.write("empty", "\n")
	change := "vault passphrase --config central.yaml"
	r.exits(exitUsage, change).stderr("missing: --new-passphrase-file")
	r.exits(exitFailed, change+" --new-passphrase-file empty").silent().stderr("is empty")
	r.exits(exitFailed, change+" --new-passphrase-file pass").silent().stderr("another than the old one")
	r.exits(exitFailed, change+" --new-passphrase-file new --passphrase-file central.yaml").silent().stderr("hint: the passphrase as it is now")
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.exits(exitFailed, change+" --new-passphrase-file new").silent().stderr("in use")
	is.stop()
	r.ok(change + " --new-passphrase-file new").stdout("let passphrase_file of the configuration file be new").never("tr0ub4dor")
	r.exits(exitFailed, "central --config central.yaml").stderr("passphrase: .*vault.root: wrong")
	r.write("central.yaml", strings.Replace(r.read("central.yaml"), "passphrase_file: pass", "passphrase_file: new", 1))
	r.ok(change + " --passphrase-file pass --new-passphrase-file new").stdout("sealed with it already")

	is, _ = r.serve("central --config central.yaml", "central system is up")
	r.dual("vault rotate-root --reason yearly --wait --config central.yaml").stdout("every row is under term 2")
	r.dual("central people add erin --role auditor --config central.yaml --out custody/erin.pem").stdout("erin is let in")
	r.ok("vault backup newer --config central.yaml --as custody/carol.pem")
	is.stop()
	r.ok("vault drill newer --journal disk2/key.journal --config central.yaml").stdout("2 meters complete, 8 keys")
	r.ok("vault drill late --passphrase-file pass").stdout("2 meters complete, 8 keys")
	r.exits(exitFailed, "vault drill late --passphrase-file new").silent().stderr("passphrase")
	r.exits(exitFailed, "vault drill newer --passphrase-file pass").silent().stderr("passphrase")
}

// TestLaw5AProcessKilledInARotationOfTheRootLosesNoKey kills the central system again and again while it seals anew.
func TestLaw5AProcessKilledInARotationOfTheRootLosesNoKey(t *testing.T) {
	const meters = 3000
	r := newRig(t)
	r.write("central.yaml", "data: is\njournal: disk2/key.journal\nsystem_title: 4D53490000000001\nlisten: 127.0.0.1:0\n")
	to := r.ok("central init --config central.yaml --json").member("recipient")
	r.custody()
	r.ok(fmt.Sprintf("maker shipment --count %d --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", meters, to))
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.knowsMaker("--config central.yaml")
	r.ok("central import shipment.jsonl --config central.yaml").stdout(fmt.Sprintf("%d imported", meters))
	for i := range 6 {
		r.dual(fmt.Sprintf("vault rotate-root --reason round-%d --config central.yaml", i))
		time.Sleep(time.Duration(25*i) * time.Millisecond)
		is.kill()
		is, _ = r.serve("central --config central.yaml", "central system is up")
	}
	r.dual("vault rotate-root --reason last --wait --config central.yaml").stdout("every row is under term")
	is.stop()
	r.ok("vault backup after --config central.yaml")
	r.ok("vault drill after --root is/vault.root --journal disk2/key.journal --config central.yaml").
		stdout(fmt.Sprintf("%d meters complete, %d keys and 0 devices open, 0 do not", meters, 4*meters))
}
