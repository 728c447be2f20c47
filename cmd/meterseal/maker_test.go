package main

import (
	"os"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/internal/shipment"
)

// knowsMaker registers the key of maker.key with the central system that where points to.
func (r *rig) knowsMaker(where string) {
	r.t.Helper()
	p, err := shipment.ParseMakerPublic(r.read("maker.key.pub"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.ok("central maker add maker.key.pub --fingerprint " + p.Fingerprint() + " " + where)
}

// makerRig is a rig with a central system's recipient and one shipment of three meters.
func makerRig(t *testing.T) (r *rig, to string) {
	t.Helper()
	r = newRig(t)
	r.write("central.yaml", "data: is\nsystem_title: 4D534C1500000001\nlisten: 127.0.0.1:0\n")
	to, _ = r.ok("central init --config central.yaml --json").member("recipient").(string)
	r.ok("maker shipment --maker MSL --count 3 --first 7 --profile hardened --to " + to +
		" --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age").stdout("^3 meters, 4D534C0000000007 to 4D534C0000000009")
	return r, to
}

func TestAShipmentIsSealedToTheCentralSystemAndToTheFactory(t *testing.T) {
	r, _ := makerRig(t)
	r.private("factory.key", "maker.key", "shipment.jsonl", "meters.age")
	if strings.Contains(r.read("meters.age"), "4D534C") {
		t.Error("the factory's file is in clear")
	}
	config := func(factory string) string {
		return "factory: " + factory + "\nfactory_identity: factory.key\nfirst: 1\ndata: meters\nlan_listen: 127.0.0.1:0\nlocal_listen: 127.0.0.1:0\n"
	}
	r.write("meters.yaml", config("meters.age"))
	r.write("swapped.yaml", config("shipment.jsonl"))
	s, at := r.serve("meter --config meters.yaml --count 1 --json", `"system_title":"4D534C0000000008","lan":"([^"]*)","local":"[^"]*"`)
	r.ok("dlms get --connect " + at[0] + " --json 64/0.0.43.0.1.255/5").stdout(`"octet-string":"4D534C0000000008"`)
	s.stop()
	if strings.Contains(s.log.String(), "4D534C0000000009") {
		t.Error("--count 1 served a second meter")
	}
	r.exits(exitFailed, "meter --config swapped.yaml").silent().stderr("not a whole factory file")
	r.exits(exitFailed, "meter --config meters.yaml --profile linky").silent().stderr("profile")
}

func TestAMakerOverwritesNothing(t *testing.T) {
	r, to := makerRig(t)
	secret, sealed := r.read("factory.key"), r.read("shipment.jsonl")
	r.exits(exitFailed, "maker shipment --to "+to+" --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out other.age").stderr("shipment.jsonl: file already exists")
	r.exits(exitFailed, "maker shipment --to "+to+" --out other.age --key maker.key --factory-identity factory.key --factory-out meters.age").stderr("meters.age: file already exists")
	r.ok("maker shipment --to " + to + " --first 20 --out second.age --key maker.key --factory-identity factory.key --factory-out second-meters.age --json").member("count")
	if r.exists("other.age") || r.read("factory.key") != secret || r.read("shipment.jsonl") != sealed {
		t.Error("a file was left behind or overwritten")
	}
}

func TestAMakerThatCannotWriteBothFilesWritesNone(t *testing.T) {
	r, to := makerRig(t)
	r.exits(exitFailed, "maker shipment --to "+to+" --out a.age --key maker.key --factory-identity factory.key --factory-out nowhere/b.age")
	if r.exists("a.age") {
		t.Error("the central system's file was left behind")
	}
}

func TestAMakerRefusesWhatItCannotMake(t *testing.T) {
	r, to := makerRig(t)
	const files = " --out a.age --key new-maker.key --factory-identity new.key --factory-out b.age"
	r.exits(exitUsage, "maker shipment --to nobody"+files).stderr("--to")
	r.exits(exitUsage, "maker shipment --count 0 --to "+to+files).stderr("--count")
	r.exits(exitUsage, "maker shipment --profile generic --to "+to+files).stderr("--profile")
	r.exits(exitFailed, "maker shipment --maker X --to "+to+files)
	for _, f := range []string{"a.age", "b.age", "new.key", "new-maker.key"} {
		if r.exists(f) {
			t.Errorf("%s was left behind", f)
		}
	}
}

func TestAFactorySecretThatOthersCanReadOrThatIsNoneIsRefusedUnseen(t *testing.T) {
	r, to := makerRig(t)
	line := "maker shipment --to " + to + " --out a.age --factory-out b.age --key maker.key --factory-identity "
	r.write("open.key", r.read("factory.key"))
	if err := os.Chmod(r.path("open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.exits(exitFailed, line+"open.key").stderr("others can read it").never("AGE-SECRET")
	r.write("wrong.key", "AGE-SECRET-KEY-1XNOT\n")
	r.exits(exitFailed, line+"wrong.key").stderr("want one line").never("1XNOT")
}
