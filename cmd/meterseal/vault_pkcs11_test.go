//go:build integration && pkcs11

package main

import (
	"os/exec"
	"testing"
)

// tokenOf makes a token of SoftHSM below the folder of the system.
func (r *rig) tokenOf(label string) {
	r.t.Helper()
	if !r.exists("softhsm2.conf") {
		r.write("tokens/.keep", "")
		r.write("softhsm2.conf", "directories.tokendir = "+r.path("tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\n")
		r.t.Setenv("SOFTHSM2_CONF", r.path("softhsm2.conf"))
	}
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "officer-1", "--pin", "20261103").CombinedOutput()
	if err != nil {
		r.t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
}

// TestAVaultInATokenIsBackedUpDrilledAndRestored goes through the commands: with the token, with another one, with a PIN that
// is not its, and with a copy that took its place under another label.
func TestAVaultInATokenIsBackedUpDrilledAndRestored(t *testing.T) {
	module := softHSM(t)
	r := newRig(t)
	r.tokenOf("meterseal")
	r.write("pin", "20261103\n")
	r.write("wrong", "00000000\n")
	in := func(data, label, pin string) string {
		return "data: " + data + "\njournal: disk2/key.journal\nvault: pkcs11:token=" + label + "?module-path=" + module + "&pin-source=" + pin +
			"\nsystem_title: 4D53490000000001\nlisten: 127.0.0.1:0\n"
	}
	r.write("central.yaml", in("is", "meterseal", "pin"))
	to := r.ok("central init --config central.yaml --person alice --json").member("recipient")
	r.as = "alice"
	r.ok("central people add bob --role operator --config central.yaml")
	r.ok("maker shipment --count 2 --to " + to.(string) + " --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age")
	is, _ := r.serve("central --config central.yaml", "central system is up")
	r.knowsMaker("--config central.yaml")
	r.ok("vault backup early --config central.yaml").stdout("without the root")
	r.ok("central import shipment.jsonl --config central.yaml").stdout("2 imported")
	drill := "vault drill early --root is/vault.root --journal disk2/key.journal --config "
	r.ok(drill + "central.yaml").stdout("2 meters complete, 8 keys and 0 devices open, 0 do not") // beside the one that runs
	is.stop()

	r.tokenOf("another")
	r.write("another.yaml", in("new", "another", "pin"))
	r.write("nowhere.yaml", in("new", "nowhere", "pin"))
	r.write("wrong.yaml", in("new", "meterseal", "wrong"))
	r.write("new.yaml", in("new", "meterseal", "pin"))
	both := r.stands("alice", "early", "--data new") + r.stands("bob", "early", "--data new")
	restore := "vault restore early --root is/vault.root --journal disk2/key.journal" + both + " --config "
	for config, says := range map[string]string{
		"another.yaml": "another vault's", "nowhere.yaml": `no token "nowhere" is in any slot`, "wrong.yaml": "refuses the PIN",
	} {
		r.exits(exitFailed, drill+config).silent().stderr(says)
		r.exits(exitFailed, restore+config).silent().stderr(says)
		if r.exists("new/meterseal.db") || r.exists("new/vault.root") {
			t.Fatalf("%s: something was restored", config)
		}
	}
	r.exits(exitFailed, "vault drill early --journal disk2/key.journal --config central.yaml").silent().stderr("it holds no root")
	r.ok(restore + "new.yaml").stdout("0 meters and 0 keys of .* batches")
	is, _ = r.serve("central --config new.yaml", "central system is up")
	r.ok("central import shipment.jsonl --config new.yaml --as is/people/alice.pem").stdout("0 imported, 2 unchanged")
	r.ok("vault backup late --config new.yaml --as is/people/alice.pem").stdout("2 meters, 8 keys")
	is.stop()

	// The token dies. A copy that is called otherwise takes its place, and the configuration says so.
	spare := "cp -r tokens spare && find spare -name token.object | xargs sed -i s/meterseal/spare-one/ && rm -r tokens/* && cp -r spare/. tokens/"
	c := exec.Command("sh", "-c", spare)
	c.Dir = r.dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	drill = "vault drill late --root new/vault.root --journal disk2/key.journal --config "
	r.exits(exitFailed, drill+"new.yaml").silent().stderr(`no token "meterseal" is in any slot`)
	r.write("spare.yaml", in("new", "spare-one", "pin"))
	r.ok(drill + "spare.yaml").stdout("2 meters complete, 8 keys and 0 devices open, 0 do not")
	is, _ = r.serve("central --config spare.yaml", "central system is up")
	is.stop()
}
