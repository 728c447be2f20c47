package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestAVaultIsMadeByAReviewedCeremony(t *testing.T) {
	r := newRig(t)
	sample := r.ok("vault init --sample").out
	text := strings.NewReplacer("/journal/key.journal", "disk2/key.journal", `"scrypt_work": 18`, `"scrypt_work": 10`).Replace(sample)
	r.write("ceremony.json", text)
	r.write("root.passphrase", "correct horse battery staple\n")
	r.write("central.yaml", "data: is\njournal: disk2/key.journal\npassphrase_file: root.passphrase\nsystem_title: 4D53490000000001\nlisten: 127.0.0.1:0\n")
	r.write("other.yaml", "data: elsewhere\njournal: disk2/key.journal\npassphrase_file: root.passphrase\nsystem_title: 4D53490000000001\n")

	r.exits(exitUsage, "vault init").stderr("want the ceremony file, or --sample")
	r.exits(exitFailed, "vault init ceremony.json --by mallory").stderr("does not take part")
	r.exits(exitFailed, "vault init ceremony.json --by alice --config other.yaml").stderr("data: the configuration says .* the ceremony")
	hash := r.ok("vault init ceremony.json --by alice --config central.yaml --dry-run --json").member("ceremony_sha256")
	r.ok("vault init ceremony.json --by alice --dry-run").stdout("sealed with the passphrase of").stderr("same disk")
	if r.exists("is") {
		t.Fatal("a dry run made something")
	}
	made := r.ok("vault init ceremony.json --by alice --config central.yaml --json")
	if made.member("ceremony_sha256") != hash {
		t.Errorf("ceremony: reviewed %v, used %v", hash, made.member("ceremony_sha256"))
	}
	r.private("is/vault.root", "is/vault.transcript")
	r.exits(exitFailed, "vault init ceremony.json --by alice --config central.yaml").stderr("never replaced")

	key := fmt.Sprint(made.member("audit_key"))
	r.ok("vault transcript verify is/vault.transcript --key " + key + " --ceremony ceremony.json --config central.yaml").
		stdout("north 2026, of Example Grid North, software").stdout("by alice with meterseal").stdout("^term 1 +wrap [0-9A-F]{6}")
	r.ok("vault transcript verify is/vault.transcript --json").stderr("compare the audit key").member("terms")
	r.write("forged", strings.Replace(r.read("is/vault.transcript"), `"by": "alice"`, `"by": "bob"`, 1))
	r.exits(exitFailed, "vault transcript verify forged").silent().stderr("not as the vault signed it")
	r.write("revised.json", strings.Replace(text, `"approvals": 2`, `"approvals": 3`, 1))
	r.exits(exitFailed, "vault transcript verify is/vault.transcript --ceremony revised.json").silent().stderr("is not the ceremony file")

	if to := r.ok("central init --config central.yaml --json").member("recipient"); to != made.member("recipient") {
		t.Errorf("central init made another vault: %v", to)
	}
	is, _ := r.serve("central --config central.yaml", "central system is up")
	is.stop()
}
