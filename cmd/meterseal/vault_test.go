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
	r.ok(fmt.Sprintf("maker shipment --count 2 --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", to))
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.knowsMaker("--config central.yaml")
	r.ok("vault backup early --config central.yaml --json").member("meters")
	r.ok("central import shipment.jsonl --config central.yaml").stdout("2 imported")
	r.ok("vault backup late --config central.yaml").stdout("late: 2 meters, 8 keys")
	is.stop()
	r.ok("vault backup rest --config central.yaml --json").member("root")
	return r
}

func TestAVaultIsBackedUpDrilledAndRestored(t *testing.T) {
	r := newVault(t, "passphrase_file: pass\n")
	r.ok("vault drill early --journal disk2/key.journal --config central.yaml --json").stdout(`"meters":2,"keys":8`).stderr("keys proven: 8 of 8")
	r.ok("vault drill late --passphrase-file pass").stdout("2 meters complete, 8 keys").stdout("1 journals lost")
	r.exits(exitFailed, "vault drill late --journal shipment.jsonl --config central.yaml").silent().stderr("key journal: damaged")
	r.exits(exitFailed, "vault restore late --config central.yaml").silent().stderr("there is a central system already")
	r.exits(exitFailed, "vault restore late --data other --passphrase-file central.yaml").silent().stderr("passphrase")

	if err := os.Rename(r.path("is"), r.path("gone")); err != nil {
		t.Fatal(err)
	}
	r.ok("vault restore early --journal disk2/key.journal --config central.yaml").stdout("0 meters and 0 keys of .* 1 batches")
	r.ok("vault status --config central.yaml").stdout("sealed  no")
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.exits(exitFailed, "central status --config central.yaml").silent().stderr("name one with --as")
	r.ok("central status --config central.yaml --as gone/people/alice.pem --json").stdout("4D534C")
	r.ok("central import shipment.jsonl --config central.yaml --as gone/people/alice.pem").stdout("0 imported, 2 unchanged")
	is.stop()
}

func TestAVaultWithoutItsJournalTakesTwoPeopleToOpen(t *testing.T) {
	r := newVault(t, "")
	r.write("new.yaml", "data: restored\njournal: disk3/key.journal\nsystem_title: 4D53490000000001\nlisten: 127.0.0.1:0\n")
	r.ok("vault restore early --root is/vault.root --config new.yaml").stdout("The vault is sealed: the key journal of node 4D53490000000001")
	r.exits(exitFailed, "central --config new.yaml").stderr("sealed")
	r.exits(exitFailed, "vault open --config new.yaml").stderr("0 of 2 count")
	r.exits(exitUsage, "vault approve --by alice --config new.yaml").stderr("missing: --reason")
	r.ok("vault approve --by alice --reason burnt --config new.yaml").stdout("1 of 2")
	r.ok("vault approve --by alice --reason again --config new.yaml").stdout("1 of 2")
	r.exits(exitFailed, "vault open --config new.yaml").stderr("1 of 2 count")
	r.ok("vault approve --by bob --reason burnt --config new.yaml").stdout("2 of 2")
	r.ok("vault status --config new.yaml").stdout("person:alice").stdout("person:bob")
	title := r.ok("vault open --config new.yaml --json").member("title")
	r.exits(exitFailed, "central --config new.yaml").stderr("key journal is missing")
	r.write("new.yaml", fmt.Sprintf("data: restored\njournal: disk3/key.journal\nsystem_title: %s\nlisten: 127.0.0.1:0\n", title))
	is, _ := r.serve("central --config new.yaml", "central system is up")
	r.ok("central import shipment.jsonl --config new.yaml --as is/people/alice.pem").stdout("2 imported")
	is.stop()
	r.ok("vault status --config new.yaml").stdout("system title " + fmt.Sprint(title))
}
