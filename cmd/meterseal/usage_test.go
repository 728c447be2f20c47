package main

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestHelpShowsExamplesOfEveryCommandAndTheExitCodes(t *testing.T) {
	r := newRig(t)
	r.ok("--help").stdout("Exit codes:").stdout("2  the command line cannot be understood")
	r.ok("version").stdout("^meterseal .*go1")
	r.ok("--version").stdout("^meterseal ")
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" || c.RunE == nil || c.Run != nil {
			t.Errorf("%s: want an example, a short text and RunE", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}

func TestCommandLinesThatCannotBeUnderstoodExitWith2(t *testing.T) {
	r := newRig(t)
	const get = "dlms get --connect 127.0.0.1:1 "
	for line, says := range map[string]string{
		"":                 "want a command: .*dlms",
		"dlsm":             `unknown command "dlsm": did you mean dlms\?`,
		"dlms":             "want a command",
		"dlms gte":         "did you mean get",
		"central nonsense": `unknown command "nonsense"`,
		"meter nonsense":   `unknown command "nonsense"`,
		"rotate --data is": "want one of --meter, --concentrator and --selection",
		"rotate --data is --selection all --meter 4D534C0000000001":               "want one of",
		"rotate --data is --selection everything":                                 "--selection: want all",
		"rotate --data is --selection older-than=soon":                            "want a time as 90d",
		"rotate --data is --selection all --budget -2":                            "--budget of at least -1",
		"rotate --data is --selection all --role CC_X":                            "--role",
		"rotate --selection all":                                                  "missing: --data",
		"campaign":                                                                "want a command: .*show",
		"campaign show --data is x":                                               "ID: want the number",
		"exposure --data is --meter 4D534C0000000001 --terminal 4D534C7500000001": "want one of",
		"concentrator evict --data is 4D534CC000000001":                           "missing: --to, --why",
		"terminal revoke --data is 4D534C7500000001":                              "missing: --why",
		"meter move --data is 4D534C0000000001":                                   "missing: --to",
		"dlms get --bogus":                                                        "unknown flag: --bogus",
		"dlms get":                                                                "argument missing",
		"dlms get 8/0.0.1.0.0.255/2":                                              "missing: --connect HOST:PORT, --hdlc HOST:PORT or --serial DEVICE",
		get + "8/0.0.1.0/2":                                                       "obis code",
		get + "--auth gmac 8/0.0.1.0.0.255/2":                                     "want --keys",
		get + "--auth lls 8/0.0.1.0.0.255/2":                                      "--auth lls: want --secret",
		get + "--auth md5 8/0.0.1.0.0.255/2":                                      "want none, lls, gmac or sha256",
		get + "--auth gmac --keys k.json --secret s 8/0.0.1.0.0.255/2":            "--secret: want --auth lls or sha256",
		get + "--hdlc 127.0.0.1:2 8/0.0.1.0.0.255/2":                              "want one of --connect and --hdlc",
		get + "--physical 17 8/0.0.1.0.0.255/2":                                   "--physical: want --hdlc or --serial with it",
		"dlms get --connect 127.0.0.1 8/0.0.1.0.0.255/2":                          "--connect: want HOST:PORT",
		"dlms get --hdlc 4059 8/0.0.1.0.0.255/2":                                  "--hdlc: want HOST:PORT",
		"dlms get --hdlc h:1 --baud 9600 8/0.0.1.0.0.255/2":                       "--baud: want --serial with it",
		"dlms get --hdlc h:1 --mode-e 8/0.0.1.0.0.255/2":                          "--mode-e: want --serial with it",
		"dlms get --serial /dev/x --device-address 1 8/0.0.1.0.0.255/2":           "--device-address: want --mode-e with it",
		"dlms get --serial /dev/x --baud 110 8/0.0.1.0.0.255/2":                   "--baud: want at least 300",
		"dlms get --serial /dev/x --hdlc-window 8 8/0.0.1.0.0.255/2":              "window: want 1 to 7",
		"dlms get --serial /dev/x --hdlc-info 3000 8/0.0.1.0.0.255/2":             "information field: want 1 to 2030",
		"dlms get --serial /dev/x --address-size 3 8/0.0.1.0.0.255/2":             "want 1, 2 or 4 octets",
		"dlms get --serial /dev/x --client 200 8/0.0.1.0.0.255/2":                 "want parts of at most 127",
		"dlms get --serial /dev/x --mode-e --device-address 1! 8/0.0.1.0.0.255/2": "--device-address: .*digits",
		"dlms browse": "missing: --connect",
		"dlms browse --connect 127.0.0.1:1 clock":                                      "beginning of an OBIS code",
		get + "--dedicated 8/0.0.1.0.0.255/2":                                          "--dedicated",
		get + "--shared-counter 8/0.0.1.0.0.255/2":                                     "--shared-counter: want --dedicated",
		get + "--timeout 0s 8/0.0.1.0.0.255/2":                                         "--timeout",
		get + "--log-level loud 8/0.0.1.0.0.255/2":                                     "want debug, info, warn or error",
		"dlms set --connect 127.0.0.1:1 8/0.0.1.0.0.255/2 uint16:65536":                "out of range",
		"dlms action --connect 127.0.0.1:1 8/0.0.1.0.0.255/2 bogus":                    "want TYPE:CONTENT",
		"dlms profile --connect 127.0.0.1:1 --last 2 --from 2026-01-01 1.0.99.1.0.255": "--last",
		"dlms profile --connect 127.0.0.1:1 --from yesterday 1.0.99.1.0.255":           "--from",
		"dlms profile --connect 127.0.0.1:1 --to 2026-01-01 1.0.99.1.0.255":            "--from with it",
		"dlms profile --connect 127.0.0.1:1 3/1.0.1.8.0.255/2":                         "7/OBIS/2",
		"meter":               "missing: --config",
		"meter --keys k.json": "--listen or --hdlc",
		"meter --profile linky --listen 127.0.0.1:0 --keys k.json": "--profile",
		"meter --config c.yaml --keys k.json":                      "either --config",
		"meter --config c.yaml --listen 127.0.0.1:0":               "--listen is for a test bench",
		"meter --keys k.json --listen 127.0.0.1:0 --count 2":       "--count",
		"maker shipment":                    "missing: --to, --out, --key, --factory-identity, --factory-out",
		"concentrator":                      "missing: --config",
		"concentrator init --config c.yaml": "missing: --title, --recipient",
		"terminal init --title 4D534C7500000001 --recipient vault.pub":             "missing: --data",
		"terminal read --data tsp --grant g.json --meter 00 --connect 127.0.0.1:1": "--meter",
		"central":        "missing: --config",
		"central init":   "missing: --config",
		"central status": "missing: --data",
		"central readings 4D534C0000000001 31.1.2026 --data is": "want YYYY-MM-DD",
		"central keys 4D53 --data is":                           "METER",
		"central assign 4D534CC000000001 --data is":             "either system titles",
		"central breaker 4D534C0000000001 explode --data is":    "open, arm or status",
		"rotate --selection all --role CCC2 --data is":          "--role",
		"audit verify a.jsonl":                                  "missing: --key",
		"audit verify a.jsonl --key nonsense":                   "--key",
	} {
		r.exits(exitUsage, line).silent().stderr("^meterseal: .*" + says).stderr("see: meterseal.* --help")
	}
}

func TestWhatFailsExitsWith1AndSaysWhatToDoNext(t *testing.T) {
	r := newRig(t)
	r.write("bad.yaml", "system_title: 4D534C1500000001\ndatta: is\n")
	r.write("central.yaml", "data: is\nsystem_title: 4D534C1500000001\n")
	r.exits(exitFailed, "dlms get --connect "+closedPort(t)+" 8/0.0.1.0.0.255/2").silent().stderr("hint: nobody listens there")
	r.exits(exitFailed, "central status --data nowhere").silent().stderr("no central system answers on this data directory")
	r.exits(exitFailed, "central --config central.yaml").silent().stderr("hint: make one: meterseal central init --config central.yaml")
	for _, role := range []string{"central", "central init", "meter", "concentrator", "terminal read --grant g --meter 4D534C0000000001 --connect 127.0.0.1:1"} {
		r.exits(exitFailed, role+" --config bad.yaml").silent().stderr("line 2: field datta not found")
		r.exits(exitFailed, role+" --config missing.yaml").silent().stderr("no such file")
	}
	r.exits(exitFailed, "terminal read --data nowhere --grant missing.json --meter 4D534C0000000001 --connect 127.0.0.1:1").silent()
}
