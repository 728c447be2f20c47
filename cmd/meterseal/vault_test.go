package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// newVault is a central system with two meters, whose journal is on another disk.
func newVault(t *testing.T, passphrase string) *rig {
	t.Helper()
	r := newRig(t)
	r.write("central.yaml", "data: is\njournal: disk2/key.journal\n"+passphrase+"system_title: 4D53490000000001\nlisten: 127.0.0.1:0\n")
	r.write("pass", "correct horse battery staple\n")
	if passphrase != "" { // with a light seal: the tests open it often
		text := strings.NewReplacer("/journal/", "disk2/", `"root.passphrase"`, `"pass"`, `"scrypt_work": 18`, `"scrypt_work": 10`)
		r.write("ceremony.json", text.Replace(r.ok("vault init --sample").out))
		r.ok("vault init ceremony.json --by alice --config central.yaml")
	}
	to := r.ok("central init --config central.yaml --person alice --json").member("recipient")
	r.as = "alice"
	r.ok("vault backup lonely --config central.yaml --json").stdout(`"warnings":\["a restore of it takes two people, operator or key-custodian, and it knows 1`).stderr("warning: a restore of it takes two people")
	r.ok("central people add bob --role operator --config central.yaml").stdout("bob is let in as operator")
	r.ok("central people add audrey --role auditor --config central.yaml")
	r.ok(fmt.Sprintf("maker shipment --count 2 --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", to))
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.knowsMaker("--config central.yaml")
	r.ok("vault backup early --config central.yaml --json").member("meters")
	r.ok("central import shipment.jsonl --config central.yaml").stdout("2 imported")
	r.ok("vault backup late --config central.yaml").stdout("late: 2 meters, 8 keys").never("warning")
	is.stop()
	r.ok("vault backup rest --config central.yaml --json").member("root")
	return r
}

// stands has somebody sign for the restore of a backup.
func (r *rig) stands(name, backup, to string) string {
	r.t.Helper()
	file := fmt.Sprintf("%s-%s.approval", name, backup)
	_ = os.Remove(r.path(file))
	r.ok(fmt.Sprintf("vault approve --restore %s %s --reason burnt --as %s --out %s", backup, to, r.pem(name), file)).stdout(name + " stands for it until")
	return " --approval " + file
}

// pem is where somebody's certificate is.
func (r *rig) pem(name string) string {
	if r.exists("gone") {
		return "gone/people/" + name + ".pem"
	}
	return "is/people/" + name + ".pem"
}

func TestAVaultIsBackedUpDrilledAndRestored(t *testing.T) {
	r := newVault(t, "passphrase_file: pass\n")
	r.ok("vault drill early --journal disk2/key.journal --config central.yaml --json").stdout(`"meters":2,"keys":8`).stderr("keys proven: 8 of 8")
	r.ok("vault drill late --passphrase-file pass").stdout("2 meters complete, 8 keys").stdout("1 journals lost")
	r.exits(exitFailed, "vault drill late --journal shipment.jsonl --config central.yaml").silent().stderr("key journal: damaged")
	here := r.stands("alice", "late", "--config central.yaml") + r.stands("bob", "late", "--config central.yaml")
	r.exits(exitFailed, "vault restore late --config central.yaml"+here).silent().stderr("there is a central system already")
	there := r.stands("alice", "late", "--data other") + r.stands("bob", "late", "--data other")
	r.exits(exitFailed, "vault restore late --data other --passphrase-file central.yaml"+there).silent().stderr("passphrase")

	if err := os.Rename(r.path("is"), r.path("gone")); err != nil {
		t.Fatal(err)
	}
	restore := "vault restore early --journal disk2/key.journal --config central.yaml"
	r.exits(exitFailed, restore).silent().stderr("0 are here").stderr("hint: two people each run: meterseal vault approve --restore early")
	alice, bob := r.stands("alice", "early", "--config central.yaml"), r.stands("bob", "early", "--config central.yaml")
	r.exits(exitFailed, restore+alice+alice).silent().stderr("1 of 2 count")
	r.exits(exitFailed, restore+alice+" --approval bob-late.approval").silent().stderr("1 of 2 count").stderr("of bob: it is for another operation, or for other parameters")
	r.exits(exitFailed, "vault approve --restore early --config central.yaml --reason x --as gone/people/audrey.pem --out x").silent().stderr("to restore a backup takes operator or key-custodian")
	r.write("changed.approval", strings.Replace(r.read("bob-early.approval"), `"reason":"burnt"`, `"reason":"other"`, 1))
	r.exits(exitFailed, restore+alice+" --approval changed.approval").silent().stderr("it was changed, or signed with another key")
	if r.exists("is/meterseal.db") {
		t.Fatal("one person restored it")
	}
	r.ok(restore + alice + bob).stdout("0 meters and 0 keys of .* 1 batches")
	r.ok("vault status --config central.yaml").stdout("sealed  no")
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.exits(exitFailed, "central status --config central.yaml").silent().stderr("alice.pem: no such file")
	r.ok("central status --config central.yaml --as gone/people/alice.pem --json").stdout(`"meters":2`)
	r.ok("central import shipment.jsonl --config central.yaml --as gone/people/alice.pem").stdout("0 imported, 2 unchanged")
	is.stop()
}

func TestAVaultWithoutItsJournalTakesTwoPeopleToOpen(t *testing.T) {
	r := newVault(t, "")
	r.write("new.yaml", "data: restored\njournal: disk3/key.journal\nsystem_title: 4D53490000000001\nlisten: 127.0.0.1:0\n")
	both := r.stands("alice", "early", "--config new.yaml") + r.stands("bob", "early", "--config new.yaml")
	r.ok("vault restore early --root is/vault.root --config new.yaml" + both).stdout("The vault is sealed: the key journal of node 4D53490000000001")
	r.exits(exitFailed, "central --config new.yaml").stderr("sealed")
	r.exits(exitFailed, "vault open --config new.yaml").stderr("0 of 2 count")
	approve := "vault approve --config new.yaml --reason burnt --as "
	r.exits(exitUsage, "vault approve --config new.yaml --as "+r.pem("alice")).stderr("missing: --reason")
	r.ok(approve + r.pem("alice")).stdout("1 of 2")
	r.ok(approve + r.pem("alice")).stdout("1 of 2")
	r.exits(exitFailed, "vault open --config new.yaml").stderr("1 of 2 count")
	r.exits(exitFailed, approve+r.pem("audrey")).silent().stderr("to open a sealed vault takes operator or key-custodian")
	r.ok(approve + r.pem("bob")).stdout("2 of 2")
	r.ok("central people revoke bob --why stolen --config new.yaml")
	r.exits(exitFailed, "vault open --config new.yaml").stderr("1 of 2 count").stderr("of bob: the certificate was revoked")
	r.ok("central people add dora --role operator --config new.yaml")
	r.ok(approve + "dora").stdout("2 of 2")
	r.ok("vault status --config new.yaml").stdout("person:alice").stdout("person:dora")
	title := r.ok("vault open --config new.yaml --json").member("title")
	r.exits(exitFailed, "central --config new.yaml").stderr("key journal is missing")
	r.write("new.yaml", fmt.Sprintf("data: restored\njournal: disk3/key.journal\nsystem_title: %s\nlisten: 127.0.0.1:0\n", title))
	is, _ := r.serve("central --config new.yaml", "central system is up")
	r.ok("central import shipment.jsonl --config new.yaml --as is/people/alice.pem").stdout("2 imported")
	is.stop()
	r.ok("vault status --config new.yaml").stdout("system title " + fmt.Sprint(title))
}
