package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/dlmstest"
)

const (
	decodeGet     = "C001C100030100010800FF0200"
	decodeUnicast = "000102030405060708090A0B0C0D0E0F"
	decodeAK      = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
	// decodeGlo is an example of the DLMS UA Green Book, ed. 8.1, table 40.
	decodeGlo = "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"
	// decodeOnly is the same request encrypted and not authenticated.
	decodeOnly = "C8122001234567411312FF935A47566827C467BC"
)

func TestDecodeShowsAnAPDUFromEveryKindOfInput(t *testing.T) {
	r := newRig(t)
	r.write("plain.hex", "# a request\n0xC0 0x01:C1-0003\n0100,010800ff 02 00   # its end\n")
	r.write("two.hex", "\ufeff"+decodeGet+"\r\n\r\nD8 01 06 0000002A\n")
	const says = `cosem-attribute-descriptor: 3/1\.0\.1\.8\.0\.255/2 -- Register: active energy import, total; value`
	r.ok("decode " + decodeGet).stdout(says)
	r.ok("decode C0 01 C1 0003 0100010800FF 02 00").stdout(says)
	r.ok("decode @plain.hex").stdout(says)
	r.ok("decode --file plain.hex").stdout(says)
	r.ok("decode --file two.hex @plain.hex").stdout(says).stdout(`invocation-counter-error`).stdout(`invocation-counter: 42`)

	c := r.command("decode --json")
	c.Stdin = strings.NewReader("C0 01 C1 0003 0100010800FF\n02 00\n\nD802 02\n")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		t.Fatalf("want a line for each input:\n%s", out)
	}
	for _, line := range lines {
		var tree struct {
			Name     string
			Size     int
			Children []json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &tree); err != nil || tree.Name != "input" || tree.Size == 0 || len(tree.Children) != 1 {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func TestDecodeDeciphersWhereTheKeysAllow(t *testing.T) {
	r := newRig(t)
	r.ok("decode " + decodeGlo).stdout("not deciphered: no key for it")
	r.write("keys.json", `{"system_title": "4D4D4D0000BC614E", "ek": "`+decodeUnicast+`", "ak": "`+decodeAK+`"}`)
	r.write("list.json", `[{"unicast": "101112131415161718191A1B1C1D1E1F"},
		{"client_title": "4D4D4D0000BC614E", "unicast": "`+decodeUnicast+`", "authentication": "`+decodeAK+`"}]`)
	r.write("wrong.json", `{"system_title": "4D4D4D0000BC614E", "unicast": "101112131415161718191A1B1C1D1E1F"}`)
	for _, keys := range []string{"keys.json", "list.json"} {
		r.ok("decode --keys " + keys + " " + decodeGlo).stdout("8/0.0.1.0.0.255/2").stdout("authenticated under the unicast key").
			never(decodeUnicast).never(decodeAK)
		r.ok("decode --json --keys " + keys + " " + decodeOnly).stdout("8/0.0.1.0.0.255/2").stdout("NOT AUTHENTICATED").never(decodeUnicast)
	}
	r.exits(exitFailed, "decode --keys wrong.json "+decodeGlo).stdout("!! authentication failed").stderr("look for !!").never("101112131415")
}

func TestDecodeShowsTheCustomerInterfacesOfThePublishedTelegrams(t *testing.T) {
	r := newRig(t)
	for _, v := range dlmstest.LoadVectors(t, "../../dlms/decode/testdata") {
		if !v.Has("unicast") {
			continue
		}
		keys := `{"unicast": "` + v.Text(t, "unicast") + `"`
		for _, field := range [][2]string{{"authentication", "authentication"}, {"title", "system_title"}} {
			if v.Has(field[0]) {
				keys += `, "` + field[1] + `": "` + v.Text(t, field[0]) + `"`
			}
		}
		r.write("keys.json", keys+"}")
		r.write("telegram.hex", v.Text(t, "bytes"))
		code := exitOK
		if v.Refused != "" {
			code = exitFailed
		}
		r.exits(code, "decode --keys keys.json @telegram.hex").stdout("^ +0 +").never(v.Text(t, "unicast"))
	}
}

func TestDecodeExitsAsDocumented(t *testing.T) {
	r := newRig(t)
	r.exits(exitFailed, "decode C001").stdout("truncated").stderr("invoke-id-and-priority at byte 2: truncated").stderr("hint: ")
	r.exits(exitFailed, "decode FFFF "+decodeGet).stdout("unknown bytes")
	r.exits(exitFailed, "decode @nowhere.hex").stderr("no such file").silent()
	r.write("bad.hex", "C0 01\nC1 G0")
	r.exits(exitFailed, "decode @bad.hex").stderr("bad.hex: line 2: character 4 is not hexadecimal").stderr("hint: want hexadecimal").silent()
	r.write("odd.hex", "C00")
	r.exits(exitFailed, "decode --file odd.hex").stderr("3 hexadecimal digits").silent()
	r.exits(exitUsage, "decode C0Z1").stderr("not hexadecimal").silent()
	r.exits(exitUsage, "decode C0 0").stderr("3 hexadecimal digits").silent()
	r.exits(exitUsage, "decode #").stderr("no bytes to decode").silent()
	r.exits(exitUsage, "decode --bogus").stderr("unknown flag").silent()
	r.ok("decode --help").stdout("Exit codes").stdout("meterseal decode --keys keys.json @telegram.txt")
}

func TestDecodeRefusesAKeysFileThatIsNotOne(t *testing.T) {
	r := newRig(t)
	const good = `{"unicast": "` + decodeUnicast + `"}`
	for text, says := range map[string]string{
		"":                                       "want a json object",
		"[]":                                     "the list is empty",
		"{}":                                     "no key: want unicast",
		`{"authentication": "` + decodeAK + `"}`: "no key: want unicast",
		good + good:                              "something follows",
		`{"` + decodeAK + `": "00"}`:             "unknown field before byte",
		`{"unicast": 42424242}`:                  "want a string",
		`{"unicast": "` + decodeAK + `Q"}`:       "not all of them one",
		`{"unicast": "D0D1"}`:                    "unicast: ",
		`{"system_title": "D0D1", "unicast": "` + decodeUnicast + `"}`:        "system_title: ",
		`{"unicast": "` + decodeUnicast + `", "ek": "` + decodeUnicast + `"}`: "given twice",
		`[` + good + `, 4]`:                   "entry 2: want a json object",
		`[` + good:                            "not closed",
		`{"unicast": "` + decodeUnicast + `"`: "not",
		`{"dedicated": "D0", "` + decodeAK:    "dedicated: ",
	} {
		r.write("keys.json", text)
		r.exits(exitFailed, "decode --keys keys.json "+decodeGet).stderr("keys file").stderr(says).stderr("hint: ").silent().
			never(decodeUnicast).never(decodeAK)
	}
	r.write("keys.json", good)
	if err := os.Chmod(r.path("keys.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.exits(exitFailed, "decode --keys keys.json "+decodeGet).stderr("mode 0644 lets everybody at the keys").stderr("chmod 600").silent()
	if err := os.Chmod(r.path("keys.json"), 0o640); err != nil {
		t.Fatal(err)
	}
	r.ok("decode --keys keys.json " + decodeGet).stderr("lets a group at the keys")
	r.exits(exitFailed, "decode --keys nowhere.json "+decodeGet).stderr("no such file").silent()
}

func TestArbitraryKeysFilesAndTextsGiveAnErrorAndNoPanic(t *testing.T) {
	pieces := []string{`{`, `}`, `[`, `]`, `,`, `:`, `"unicast"`, `"dedicated"`, `"system_title"`, `"ek"`, `"` + decodeUnicast + `"`, `"` + decodeAK + `"`, `1`, `null`, "\n", "#", "0x", "c0 ", "G"}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 20).Draw(t, "pieces"), "")
		keys, err := parseDecodeKeys([]byte(text))
		if err != nil && (strings.Contains(err.Error(), decodeUnicast) || strings.Contains(err.Error(), decodeAK)) {
			t.Errorf("a key is in the error: %v", err)
		}
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
		all, err := parseHexInputs("text", text)
		size := 0
		for _, in := range all {
			size += len(in.b)
		}
		if err == nil && 2*size > len(text) {
			t.Errorf("%d bytes out of %d characters", size, len(text))
		}
	})
}
