//go:build integration

package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	operatorDC  = "4D534CC000000001"
	operatorTSP = "4D534C7500000001"
)

// staff is a system whose people work it by its commands alone.
type staff struct {
	*rig
	meters, lan, local []string
	roles              []*server
}

// wires are what stands between the roles: it takes where one listens and gives where the other connects.
type wires struct{ bus, line func(at string) string }

func newStaff(t *testing.T) *staff {
	t.Helper()
	return newStaffOn(t, newRig(t), wires{})
}

// newStaffOn is newStaff on a rig, with taps in its wires.
func newStaffOn(t *testing.T, r *rig, w wires) *staff {
	t.Helper()
	s := &staff{rig: r}
	s.write("central.yaml", "data: is\nsystem_title: 4D534C1500000001\nlisten: 127.0.0.1:0\nretry_min: 200ms\nretry_max: 1s\n"+r.central)
	s.write("meters.yaml", "factory: meters.age\nfactory_identity: factory.key\ndata: meters\nlan_listen: 127.0.0.1:0\nlocal_listen: 127.0.0.1:0\n")
	to := s.ok("central init --config central.yaml --json").member("recipient")
	s.ok(fmt.Sprintf("maker shipment --count 2 --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", to))
	is, bus := s.serve("central --config central.yaml", `bus +(\S+)[^$]*central system is up`)
	fleet, at := s.serve("meter --config meters.yaml", strings.Repeat(`meter (\S+)  wrapper (\S+)  hdlc (\S+)\n`, 2))
	for i := 0; i < len(at); i += 3 {
		s.meters, s.lan, s.local = append(s.meters, at[i]), append(s.lan, at[i+1]), append(s.local, at[i+2])
	}
	if w.line != nil {
		for i := range s.lan {
			s.lan[i], s.local[i] = w.line(s.lan[i]), w.line(s.local[i])
		}
		bus[0] = w.bus(bus[0])
	}
	s.exits(exitFailed, "central import shipment.jsonl --data is").stderr("maker MSL has no key")
	s.exits(exitUsage, "central maker add maker.key.pub --data is").stderr("give it with --fingerprint")
	s.knowsMaker("--data is")
	s.ok("central maker ls --data is").stdout("MSL .* active")
	s.ok("central import shipment.jsonl --data is").stdout("2 imported, 0 unchanged, 0 refused")
	s.write("dc.yaml", fmt.Sprintf("data: dc\nis_url: %s\nis_ca: is/tls/ca.pem\nlan: [%q, %q]\nrediscover: 1s\n", bus[0], s.lan[0], s.lan[1]))
	s.enrol(fmt.Sprintf("concentrator init --config dc.yaml --title %s --recipient %s --out dc.json", operatorDC, to), "dc.json")
	s.enrol(fmt.Sprintf("terminal init --data tsp --title %s --recipient %s --out tsp.json", operatorTSP, to), "tsp.json")
	s.ok("central assign " + operatorDC + " --unassigned 0 --data is").stdout("^2 meters are under")
	dc, _ := s.serve("concentrator --config dc.yaml", "concentrator "+operatorDC)
	s.roles = []*server{dc, fleet, is}
	return s
}

// enrol makes a device and carries its file and its fingerprint to the central system.
func (s *staff) enrol(line, file string) {
	s.t.Helper()
	shown, _ := s.ok(line + " --json").member("fingerprint").(string)
	s.exits(exitUsage, "central enrol "+file+" --data is").stderr("hint: the file has " + shown)
	s.exits(exitFailed, "central enrol "+file+" --fingerprint AAAAA-AAAAA-AAAAA-AAAAA-AAAAA --data is").silent()
	s.ok("central enrol " + file + " --fingerprint " + shown + " --data is").stdout("is enrolled")
}

// soon repeats a command line that needs the concentrator to have found its way.
func (s *staff) soon(line, pattern string) {
	s.t.Helper()
	matches := regexp.MustCompile("(?m)" + pattern)
	var last []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var err error
		if last, err = s.command(line).Output(); err == nil && matches.Match(last) {
			return
		}
	}
	s.t.Fatalf("meterseal %s: want %q in:\n%s", line, pattern, last)
}

func TestTheSystemIsWorkedByItsCommandsAlone(t *testing.T) {
	s := newStaff(t)
	meter := s.meters[0]
	yesterday := time.Now().UTC().Add(time.Hour).AddDate(0, 0, -1).Format(time.DateOnly)

	s.soon("central provision "+operatorDC+" --data is", "holds 2 keys")
	s.soon("central associate "+operatorDC+" --data is", meter+" +48 +v1")
	s.ok("central import shipment.jsonl --data is").stdout("0 imported, 2 unchanged, 0 refused")

	s.ok("central collect " + yesterday + " --data is")
	s.soon("central collect "+yesterday+" --data is", "2 days stored, 96 values")
	if got := strings.Count(s.ok("central readings "+meter+" "+yesterday+" --data is").out, "\n"); got != 49 {
		t.Errorf("readings: %d lines, want a head and 48 half hours", got)
	}
	s.ok("central sightings --data is").stdout("^" + meter)

	s.ok("rotate --selection all --role cc_lan --role CC_LOCALE --reason first --wait --data is").stdout("campaign 1")
	s.ok("campaign show 1 --data is").stdout("^keys +4 done")
	s.ok("central keys " + meter + " --data is").stdout("^CC_LAN +v2 +active").stdout("^CC_IS +v1 +active")

	s.ok("central breaker " + meter + " open --data is").stdout("success")
	s.ok("central breaker " + meter + " status --data is").stdout("breaker open")
	s.exits(exitFailed, "central breaker "+meter+" open --through concentrator --data is").silent().stderr("read-write-denied")
	s.ok("central clock " + meter + " --data is")
	s.ok("central broadcast " + operatorDC + " --data is").stdout("2 meters")

	s.grants(meter)
	s.ok("central rollcall --data is").stdout("^2 meters answered, 0 did not")
	s.audit()
	for _, r := range s.roles {
		r.stop()
	}
	s.exits(exitFailed, "central status --data is").stderr("no central system answers")
}

// grants: a terminal reads what it was granted, while it was.
func (s *staff) grants(meter string) {
	s.t.Helper()
	id, _ := s.ok("central grant " + operatorTSP + " " + meter + " --for 1h --json --data is").member("id").(string)
	s.private("grant.json")
	s.exits(exitFailed, "central grant "+operatorTSP+" "+meter+" --data is").stderr("grant.json: file already exists")
	read := "terminal read --data tsp --grant grant.json --connect " + s.local[0] + " --meter "
	got := s.ok(read + meter + " --json").member("meter")
	if got != meter {
		s.t.Errorf("read %v, want %s", got, meter)
	}
	s.exits(exitFailed, read+s.meters[1]).silent().stderr("does not cover this meter").stderr("hint: ask the central system")
	s.life(meter)
	s.ok("central grant-end " + id + " --data is").stdout("1 keys to change")
	s.soon("central keys "+meter+" --data is", "^CC_LOCALE +v3 +active")
	s.exits(exitFailed, read+meter).silent().stderr("hint: .*CC_LOCALE")
}

// life: what the terminal did comes back, and the keys' whole life is told.
func (s *staff) life(meter string) {
	s.t.Helper()
	s.ok("terminal log --data tsp --out log.json").stdout("1 entries in log.json")
	s.private("log.json")
	s.ok("central terminal-log log.json --data is").stdout("1 new entries of terminal " + operatorTSP)
	s.ok("central terminal-log log.json --data is").stdout("^0 new entries")
	s.write("forged.json", strings.Replace(s.read("log.json"), "association terminal", "associated terminal", 1))
	s.exits(exitFailed, "central terminal-log forged.json --data is").silent().stderr("not written by this terminal")
	s.ok("audit show --meter " + meter + " --data is").
		stdout("CC_LAN v1 .*\n.*came with the meter").stdout("CC_LAN v2 .*\n.*made in the vault").
		stdout("sealed to " + operatorDC).stdout("wrapped under CCC").stdout("superseded by another version").
		stdout(`used [0-9]+ times by system:is \(transfer\).*[0-9]+ opened`).
		stdout(`used (once|[0-9]+ times) by ` + operatorDC + ` \(read/write\).*as its own log tells`).
		stdout("used once by " + operatorTSP + ` \(terminal\).*grant [0-9a-f]{16} until 20`)
	s.exits(exitFailed, "audit show --meter 4D534C00000000FF --data is").silent()
}

// audit: an export verifies, and one that was changed does not.
func (s *staff) audit() {
	s.t.Helper()
	key, _ := s.ok("central status --json --data is").member("audit_key").(string)
	s.ok("central audit-export audit.jsonl --data is")
	s.private("audit.jsonl")
	s.ok("audit verify audit.jsonl --key " + key).stdout("all as signed").stdout("logs of 2 devices joined in, [0-9]+ entries, none missing")
	s.ok("audit show --meter " + s.meters[0] + " audit.jsonl --key " + key).stdout("CC_LOCALE v2").stdout("used once by " + operatorTSP)
	s.write("changed.jsonl", strings.Replace(s.read("audit.jsonl"), `"actor":"person:`, `"actor":"person:x`, 1))
	s.exits(exitFailed, "audit verify changed.jsonl --key "+key).silent().stderr("tampered")
}
