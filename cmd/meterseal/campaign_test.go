//go:build integration

package main

import (
	"fmt"
	"testing"
)

const secondDC = "4D534CC000000002"

// second adds another concentrator, which reaches the same meters.
func (s *staff) second() {
	s.t.Helper()
	to := s.ok("central status --json --data is").member("vault_recipient")
	url := s.ok("central status --json --data is").member("bus_url")
	s.write("dc2.yaml", fmt.Sprintf("data: dc2\nis_url: %s\nis_ca: is/tls/ca.pem\nlan: [%q, %q]\nrediscover: 1s\n", url, s.lan[0], s.lan[1]))
	s.enrol(fmt.Sprintf("concentrator init --config dc2.yaml --title %s --recipient %s --out dc2.json", secondDC, to), "dc2.json")
	dc, _ := s.serve("concentrator --config dc2.yaml", "concentrator "+secondDC)
	s.roles = append([]*server{dc}, s.roles...)
}

func TestCampaignsExposureMovesAndEvictionAreWorkedByCommands(t *testing.T) {
	s := newStaff(t)
	meter, other := s.meters[0], s.meters[1]
	s.soon("central provision "+operatorDC+" --data is", "holds 2 keys")

	s.ok("rotate --selection all --name first --limit 1 --wait --data is").stdout("campaign 1: done, 6 keys changed").stderr("keys changed: 6 of 6")
	s.ok("rotate --selection older-than=1d --wait --data is").stdout("campaign 2: done, 0 keys changed")
	s.ok("rotate --meter " + meter + " --role CC_LAN --reason again --wait --json --data is").stdout(`"state":"done"`)
	s.ok("campaign ls --data is").stdout("^3 +done +1 +0 +0 +0 +1 +- +- +again").stdout("^1 +done +6 +0 +0 +0 +6 +- +first ")
	s.ok("campaign show 3 --data is").stdout("^keys +1 done, 0 under way").stdout("^roles +CC_LAN$")
	s.ok("campaign show 3 --watch --json --data is").stdout(`"done":1`)
	s.exits(exitFailed, "campaign show 9 --data is").silent().stderr("no such campaign")
	s.exits(exitFailed, "campaign abort 3 --data is").silent().stderr("wants a second person: approval [a-z2-7]{8}, valid until")

	s.ok("exposure --concentrator " + operatorDC + " --data is").stdout("^2 +CC_LAN +held by its concentrator").stdout("^" + meter + " +CC_LAN +v3 +active +" + operatorDC)
	s.ok("exposure --unentitled --json --data is").stdout(`"holdings":\[\]`)

	s.ok("central grant " + operatorTSP + " " + meter + " --for 1h --data is")
	s.ok("exposure --meter " + meter + " --data is").stdout("CC_LOCALE +v2 +active +" + operatorTSP + ".*live grant")
	s.ok("terminal revoke " + operatorTSP + " --why lost --data is").stdout("1 grants ended, [01] keys are exposed")
	s.soon("exposure --terminal "+operatorTSP+" --json --data is", `"totals":\[\]`)
	s.ok("central keys " + meter + " --data is").stdout("^CC_LOCALE +v3 +active")

	s.second()
	s.soon("central provision "+secondDC+" --data is", "holds 0 keys")
	s.ok("meter move " + meter + " --to " + secondDC + " --data is").stdout("^1 meters are under " + secondDC)
	s.soon("central keys "+meter+" --data is", "^CC_LAN +v4 +active.* "+secondDC+"$")
	s.ok("exposure --concentrator " + operatorDC + " --unentitled --json --data is").stdout(`"totals":\[\]`)

	s.ok("concentrator evict " + operatorDC + " --to " + secondDC + " --why stolen --data is").stdout("1 meters are under " + secondDC)
	s.soon("central keys "+other+" --data is", "^CC_LAN +v3 +active.* "+secondDC+"$")
	s.soon("exposure --concentrator "+operatorDC+" --json --data is", `"totals":\[\]`)
	s.soon("central associate "+secondDC+" --data is", other+" +48 +v3")
	s.ok("central rollcall --data is").stdout("^2 meters answered, 0 did not")
	s.ok("central status --meters --data is").stdout("^meters +2$").stdout("^" + other + " +hardened +" + secondDC + " +enrolled")
	s.ok("central status --meters --json --data is").stdout(`"meters":2,`).stdout(`"fleet":\[{"meter":"` + meter)
	s.exits(exitFailed, "central provision "+operatorDC+" --data is").silent().stderr("revoked")
	for _, r := range s.roles {
		r.stop()
	}
}
