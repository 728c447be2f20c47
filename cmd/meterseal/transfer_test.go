//go:build integration

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// pair is two head-ends: a staff's, which has meters, and another one, in b, which has none.
type pair struct {
	*staff
	other *server
	bus   string // of the other one
	to    string // its transport key
}

func newPair(t *testing.T) *pair {
	t.Helper()
	r := newRig(t)
	r.write("central.yaml", "data: is\nsystem_title: 4D534C1500000001\nlisten: 127.0.0.1:0\n")
	r.ok("central init --config central.yaml --person alice")
	r.custody()
	p := &pair{staff: newStaffOn(t, r, wires{})}
	r.write("b.yaml", "data: b\nsystem_title: 4D534C1500000009\nlisten: 127.0.0.1:0\nretry_min: 200ms\nretry_max: 1s\n")
	p.to, _ = r.ok("central init --config b.yaml --person bea --json").member("recipient").(string)
	for _, name := range []string{"carl", "dora"} {
		r.ok("central people add " + name + " --role key-custodian --config b.yaml --out custody/" + name + ".pem")
	}
	var at []string
	p.other, at = r.serve("central --config b.yaml", `bus +(\S+)[^$]*central system is up`)
	p.bus = at[0]
	return p
}

// twice does what takes two people, and finds on the way that one is not enough. Neither the one who asks nor somebody of
// another head-end is a second person, and an approval is for this and once.
func (p *pair) twice(where, asks, second, stranger, line, other string, code int) *outcome {
	p.t.Helper()
	as := func(name string) string { return " " + where + " --as custody/" + name + ".pem" }
	id := ""
	for range 2 { // asking again is no second person
		asked := p.exits(exitFailed, line+as(asks)).silent().stderr("wants a second person")
		found := regexp.MustCompile(`approve give (\S+?)'`).FindStringSubmatch(asked.errOut)
		if found == nil || id != "" && found[1] != id {
			p.t.Fatalf("want one approval, %q before, in %s", id, asked.errOut)
		}
		id = found[1]
	}
	p.exits(exitFailed, "approve give "+id+" --reason self"+as(asks)).silent().stderr("it takes a second person")
	p.exits(exitFailed, "approve give "+id+" --reason stranger"+as(stranger)).silent().stderr("certificate")
	p.exits(exitFailed, line+as(asks)).silent().stderr("wants a second person")
	p.ok("approve give " + id + " --reason seen" + as(second))
	p.exits(exitFailed, other+as(asks)).silent().stderr("wants a second person") // what was approved is something else
	p.exits(exitFailed, line+as(second)).silent().stderr("wants a second person")
	return p.exits(code, line+as(asks))
}

func TestARunningFleetIsGivenToAnotherHeadEndByTwoPeopleOnEachSide(t *testing.T) {
	p := newPair(t)
	meter, other := p.meters[0], p.meters[1]
	p.soon("central provision "+operatorDC+" --data is", "holds 2 keys")
	p.ok("rotate --selection all --role cc_lan --role cc_is --reason first --wait --data is").stdout("campaign 1")
	p.ok("central rollcall --data is").stdout("^2 meters answered, 0 did not")

	// The concentrator goes, and a change stays that has not reached its meter.
	p.roles[0].stop()
	p.ok("rotate --meter " + meter + " --role cc_lan --reason stuck --data is")
	p.soon("central keys "+meter+" --data is", "^CC_LAN +v3 +pending")

	where := "--config central.yaml"
	export := "vault export south.jsonl --to b/vault.pub --concentrator " + operatorDC
	p.exits(exitUsage, "vault export south.jsonl --to b/vault.pub "+where).stderr("either --concentrator or --meter")
	p.exits(exitFailed, export+" "+where).silent().stderr("wants a second person") // an operator may ask
	p.twice(where, "carol", "dave", "carl", export, "vault export south.jsonl --to b/vault.pub --meter "+other, exitOK).
		stdout(`south.jsonl: 2 meters, 13 key versions, for \S+ alone; they are used here no more`)
	p.private("south.jsonl")
	if strings.Contains(p.read("south.jsonl"), "AGE-SECRET") {
		t.Error("the file is not sealed")
	}
	p.exits(exitFailed, export+" "+where+" --as custody/carol.pem").silent().stderr("wants a second person")
	p.gone(meter)

	from, _ := p.ok("central status --json --data is").member("audit_key").(string)
	wrong, _ := p.ok("central status --json --data b").member("audit_key").(string)
	where = "--config b.yaml"
	take := "vault import south.jsonl --from " + from
	p.twice(where, "carl", "dora", "carol", "vault import south.jsonl --from "+wrong, take, exitFailed).stderr("signature")
	p.twice(where, "carl", "dora", "dave", take, "vault import other.jsonl --from "+from, exitOK).stdout("2 imported, 0 unchanged, 0 refused")
	p.twice(where, "dora", "carl", "dave", take, "vault import other.jsonl --from "+from, exitOK).stdout("0 imported, 2 unchanged, 0 refused")
	p.works(meter)

	// The one that gave them away knows it after a restart.
	p.roles[2].stop()
	p.roles[2], _ = p.serve("central --config central.yaml", "central system is up")
	p.gone(meter)
	for _, s := range []*server{p.roles[1], p.roles[2], p.other} {
		s.stop()
	}
}

// gone: the head-end that gave a meter away says so, and has nothing to do with it.
func (p *pair) gone(meter string) {
	p.t.Helper()
	for _, line := range []string{
		"central breaker " + meter + " open", "central breaker " + meter + " status", "central clock " + meter,
		"rotate --meter " + meter + " --reason again", "central grant " + operatorTSP + " " + meter + " --out no-grant.json",
		"central assign " + operatorDC + " " + meter,
	} {
		p.exits(exitFailed, line+" --data is").silent().stderr("the meter was given to another head-end: " + meter)
	}
	if p.exists("no-grant.json") {
		p.t.Error("a grant was written")
	}
	p.ok("central rollcall --data is").stdout("^0 meters answered, 0 did not")
	if n := p.ok("central status --json --data is").member("open_changes"); n != 0.0 {
		p.t.Errorf("%v key changes are open for meters that are gone", n)
	}
}

// works: the meters are under a concentrator of the other head-end, and do what it wants.
func (p *pair) works(meter string) {
	p.t.Helper()
	p.write("dc2.yaml", fmt.Sprintf("data: dc2\nis_url: %s\nis_ca: b/tls/ca.pem\nlan: [%q, %q]\nrediscover: 1s\n", p.bus, p.lan[0], p.lan[1]))
	print, _ := p.ok(fmt.Sprintf("concentrator init --config dc2.yaml --title %s --recipient %s --out dc2.json --json", secondDC, p.to)).member("fingerprint").(string)
	p.ok("central enrol dc2.json --fingerprint " + print + " --data b").stdout("is enrolled")
	p.ok("central assign " + secondDC + " --unassigned 0 --data b").stdout("^2 meters are under")
	p.serve("concentrator --config dc2.yaml", "concentrator "+secondDC)
	p.soon("central provision "+secondDC+" --data b", "holds 2 keys")
	p.soon("central associate "+secondDC+" --data b", meter+" +48 +v2")
	p.soon("central rollcall --data b", "^2 meters answered, 0 did not")
	p.ok("central breaker " + meter + " open --data b").stdout("success")
	p.ok("central breaker " + meter + " status --data b").stdout("breaker open")
	p.ok("rotate --selection all --reason taken-over --wait --data b").stdout("campaign 1")
	p.ok("central keys " + meter + " --data b").stdout("^CC_LAN +v4 +active").stdout("^CC_LAN +v3 +abandoned").stdout("^CC_IS +v3 +active").stdout("^CC_LOCALE +v2 +active")
	p.ok("central rollcall --data b").stdout("^2 meters answered, 0 did not")
}
