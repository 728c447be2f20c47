package decode_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/decode"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// plainAPDUs has every form of every service once, and what its tree must say.
var plainAPDUs = map[string]string{
	"get-request normal":      "C0 01 C1 0003 0100010800FF 02 00",
	"get-request by range":    "C0 01 C1 0007 0100630100FF 02 01 01 0204 0204 120008 09060000010000FF 0F02 120000 090C07E5060304000000FF800000 090C07E5060404000000FF800000 0100",
	"get-request next":        "C0 02 C1 00000007",
	"get-request with-list":   "C0 03 C1 02 0003 0100010800FF 02 00 0008 0000010000FF 02 00",
	"get-response normal":     "C4 01 C1 00 06 00001391",
	"get-response refused":    "C4 01 C1 01 04",
	"get-response block":      "C4 02 C1 01 00000001 00 05 0600001391",
	"get-response with-list":  "C4 03 C1 02 00 06 00001391 01 03",
	"set-request normal":      "C1 01 C1 0008 0000010000FF 03 00 10 FFC4",
	"set-request first block": "C1 02 C1 0001 0000600100FF 02 00 00 00000001 02 0904",
	"set-request block":       "C1 03 C1 01 00000002 04 41424344",
	"set-request with-list":   "C1 04 C1 01 0008 0000010000FF 03 00 01 10 FFC4",
	"set-request list block":  "C1 05 C1 01 0008 0000010000FF 03 00 01 00000001 04 01 10 FFC4",
	"set-response normal":     "C5 01 C1 00",
	"set-response block":      "C5 02 C1 00000001",
	"set-response last":       "C5 03 C1 00 00000002",
	"set-response last list":  "C5 04 C1 02 00 03 00000002",
	"set-response with-list":  "C5 05 C1 02 00 03",
	"action-request normal":   "C3 01 C1 0046 000060030AFF 01 01 0F 00",
	"action-request bare":     "C3 01 C1 0046 000060030AFF 02 00",
	"action-request next":     "C3 02 C1 00000001",
	"action-request list":     "C3 03 C1 01 0046 000060030AFF 01 01 0F 00",
	"action-request first":    "C3 04 C1 0012 00002C0000FF 02 01 00000001 02 0F 00",
	"action-request list1":    "C3 05 C1 01 0012 00002C0000FF 02 01 00000001 03 01 0F 00",
	"action-request block":    "C3 06 C1 01 00000001 02 0F 00",
	"action-response normal":  "C7 01 C1 00 00",
	"action-response value":   "C7 01 C1 00 01 00 09 02 4142",
	"action-response refused": "C7 01 C1 03 01 01 04",
	"action-response short":   "C7 01 C1 0C",
	"action-response block":   "C7 02 C1 01 00000001 02 0F 00",
	"action-response list":    "C7 03 C1 02 00 00 0B 00",
	"action-response next":    "C7 04 C1 00000001",
	"event-notification":      "C2 01 0C07E5060304000000FF800000 0046 000060030AFF 03 16 02",
	"event without time":      "C2 00 0046 000060030AFF 03 16 02",
	"data-notification":       "0F 00000001 00 02 02 0906 0100010800FF 06 00001391",
	"exception":               "D8 01 06 0000002A",
	"exception plain":         "D8 02 02",
	"confirmed error":         "0E 01 06 02",
	"initiate-request":        "01 00 00 00 06 5F1F04 00007E1F 04B0",
	"initiate-response":       "08 00 06 5F1F04 00007E1F 04B0 0007",
	"rlrq":                    "62 03 80 01 00",
	"rlre":                    "63 03 80 01 00",
	"rlrq bare":               "62 00",
	"aarq":                    "60 36 A109060760857405080101 8A020780 8B0760857405080201 AC0A80083132333435363738 BE10 040E 01000000065F1F0400007E1F04B0",
	"aare":                    "61 29 A109060760857405080101 A203020100 A305A103020100 BE10 040E 0800065F1F0400007E1F04B00007",
	"aare refused":            "61 1F A109060760857405080101 A203020101 A305A10302010D BE06 0404 0E010600",
	"general block transfer":  "E0 80 0001 0000 0D C00181000801000A0100FF0200",
}

func TestEveryFormOfEveryServiceIsDecodedWithoutAnError(t *testing.T) {
	for name, text := range plainAPDUs {
		t.Run(name, func(t *testing.T) {
			tree := decode.Decode(unhex(text), decode.Options{})
			if bad := tree.FirstError(); bad != nil {
				t.Fatalf("%s: %s\n%s", bad.Name, bad.Error, tree)
			}
			if len(tree.Children) != 1 || tree.Children[0].Size != len(unhex(text)) {
				t.Errorf("want one node over everything:\n%s", tree)
			}
		})
	}
}

func TestTruncationAnywhereGivesAnErrorNodeAndNoPanic(t *testing.T) {
	for name, text := range plainAPDUs {
		b := unhex(text)
		for n := range len(b) {
			tree := decode.Decode(b[:n], decode.Options{})
			// A refusal may end with its result: what is left is whole then.
			if tree.FirstError() == nil && !parses(b[:n]) {
				t.Errorf("%s, %d of %d bytes: no error:\n%s", name, n, len(b), tree)
			}
		}
	}
}

func TestValuesAreShownInWords(t *testing.T) {
	for in, want := range map[string][]string{
		plainAPDUs["get-request normal"]:                   {"normal", "1, confirmed, high priority", "3/1.0.1.8.0.255/2 -- Register: active energy import, total; value"},
		plainAPDUs["get-request by range"]:                 {"by range", "8/0.0.1.0.0.255/2 Clock", "2021-06-03 Thu"},
		plainAPDUs["get-response refused"]:                 {"object-undefined"},
		plainAPDUs["exception"]:                            {"service-not-allowed", "invocation-counter-error", "42"},
		plainAPDUs["confirmed error"]:                      {"initiate", "incompatible-conformance"},
		plainAPDUs["aarq"]:                                 {"lls", "a password, not shown", "client-max-receive-pdu-size: 1200"},
		plainAPDUs["aare"]:                                 {"accepted", "service user: null", "logical names"},
		plainAPDUs["aare refused"]:                         {"rejected-permanent", "authentication-failure", "error-class: initiate"},
		plainAPDUs["rlre"]:                                 {"reason: normal"},
		plainAPDUs["action-request normal"]:                {"70/0.0.96.3.10.255/1 -- Disconnect control", "remote disconnect"},
		plainAPDUs["general block transfer"]:               {"last block", "apdu of 1 blocks", "1.0.10.1.0.255"},
		"0F 00000001 00 13 02 02 12 11 06 0001 02 0003 04": {"compact-array", "element 2 (structure)", ": 3 (long-unsigned)"},
		"C4 01 C1 00 02 02 0F FF 16 23":                    {"10^-1 V"},
		"C4 01 C1 00 0A 03 416264":                         {`"Abd"`},
		"C4 01 C1 00 17 40490FDB":                          {"3.14159"},
	} {
		text := decode.Decode(unhex(in), decode.Options{}).String()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: want %q in:\n%s", in, w, text)
			}
		}
	}
}

func TestDamagedInputIsShownWithWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "no bytes",
		"FF00AA":                        "no frame and no apdu that is known",
		"C4 01 C1 00 06 00001391 00":    "no frame and no apdu",
		"C4 01 C1 00 06 00001391 C0 01": "trailing bytes",
		"C4 09 C1 00":                   "want 1 to 3",
		"C4 01 C1 02 00":                "want 0 or 1",
		"C4 01 C1 00 07":                "unknown type",
		"C4 01 C1 00 01 84FFFFFFFF":     "bytes are left",
		"C4 01 C1 00 01 85 00":          "length octet 85",
		"C4 01 C1 00" + strings.Repeat("0201", 20):  "nested too deep",
		"DB 03 414243 06 30 00000001 00":            "system title",
		"C8 04 30 000000":                           "truncated",
		"C8 06 30 00000001 00":                      "want a tag",
		"60 05 A103020100":                          "want an element with the tag 06",
		"60 09 E1070000000000":                      "bytes are left",
		"60 03 9F0100":                              "the standard has no such field",
		"7E A0 07 03 21 93 0F 01 7D":                "truncated or damaged",
		"68 05 05 68 53 FF 00":                      "truncated",
		"00 01 00 01 00 10 00 05 C0 01":             "truncated: want 5 bytes",
		"D9 01":                                     "not decoded",
		"0F 00000001 02 0101 00":                    "want 12 bytes",
		"C4 02 C1 00 00000001 03 00":                "want 0 or 1",
		"DD 00 00 00 00 00 01 07 05 30 00000001 00": "want 0 to 2",
		"01 01 11 00112233445566778899AABBCCDDEEFF": "bytes are left",
	} {
		tree := decode.Decode(unhex(in), decode.Options{})
		if tree.FirstError() == nil || !strings.Contains(tree.String(), want) {
			t.Errorf("%s: want %q in:\n%s", in, want, tree)
		}
	}
}

func TestEveryFieldOfAnAssociationIsNamed(t *testing.T) {
	id := apdu.InvocationID{Present: true, Value: 7}
	q, err := apdu.AARQ{
		ProtocolVersion: []byte{7, 0x80}, Context: apdu.ContextLNCiphered, CalledAPTitle: []byte("SERVER01"), CalledAEQualifier: []byte{1, 2},
		CalledAPID: id, CalledAEID: id, CallingTitle: dlms.SystemTitle{'M', 'S', 'L', 1}, CallingAEQualifier: make([]byte, 200),
		CallingAPID: id, CallingAEID: id, Authentication: true, Mechanism: apdu.MechanismHLSSHA256, AuthenticationValue: []byte("challenge"),
		Implementation: []byte("ours"),
	}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	both, err := apdu.AARE{
		Context: apdu.ContextLN, Result: apdu.AssociationRejectedTransient, Diagnostic: apdu.DiagnosticNoCommonVersion,
		RespondingTitle: dlms.SystemTitle{'M', 'S', 'L', 2}, RespondingAEQualifier: []byte{9}, RespondingAPID: id, RespondingAEID: id,
		Authentication: true, Mechanism: apdu.MechanismHLSGMAC, AuthenticationValue: []byte("challenge"),
	}.AppendBinary(q)
	if err != nil {
		t.Fatal(err)
	}
	tree := decode.Decode(both, decode.Options{})
	text := tree.String()
	if tree.FirstError() != nil {
		t.Error(text)
	}
	for _, w := range []string{
		"protocol-version", `called-AP-title: 5345525645523031`, "called-AE-qualifier: 0102", "called-AP-invocation-identifier: 7", "called-AE-invocation-identifier: 7",
		"calling-AP-title: 4D534C0100000000, manufacturer MSL", "calling-AE-qualifier: 200 bytes", "calling-AP-invocation-identifier: 7", "calling-AE-invocation-identifier: 7",
		"mechanism-name: hls-sha256", "challenge 6368616C6C656E6765", `implementation-information: "ours"`,
		"result: rejected-transient", "service provider: no-common-acse-version", "responding-AP-title", "responding-AE-qualifier: 09", "responding-AP-invocation-identifier: 7", "responder-acse-requirements: authentication",
	} {
		if !strings.Contains(text, w) {
			t.Errorf("want %q in:\n%s", w, text)
		}
	}
}

func TestKeysOfAllRolesAreTriedWhereTheyBelong(t *testing.T) {
	s := newSession(t)
	other, err := key.NewUnicast(unhex("F0E1D2C3B4A5968778695A4B3C2D1E0F"))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := other.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	broadcast, err := s.global.Session(aead)
	if err != nil {
		t.Fatal(err)
	}
	if s.keys.Dedicated, err = key.NewDedicated(unhex(s.secret)); err != nil {
		t.Fatal(err)
	}
	s.keys.Title, s.keys.Peer, s.keys.Broadcast = s.meter, s.client, other
	plain := unhex(plainAPDUs["get-request normal"])
	control := security.AuthenticatedEncrypted | security.Broadcast
	content, err := broadcast.Seal(nil, control, s.client, 5, plain)
	if err != nil {
		t.Fatal(err)
	}
	glo, err := apdu.GeneralCiphered{Title: s.client, Ciphered: apdu.Ciphered{Tag: apdu.TagGeneralGlo, Control: byte(control), Counter: 5, Content: content}}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if content, err = s.own.Seal(nil, security.AuthenticatedEncrypted, s.client, 6, plain); err != nil {
		t.Fatal(err)
	}
	ded, err := apdu.GeneralCiphered{Ciphered: apdu.Ciphered{Tag: apdu.TagGeneralDed, Control: byte(security.AuthenticatedEncrypted), Counter: 6, Content: content}}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"broadcast":                    {glo, "authenticated under the broadcast key of 4D534C0200000000 with the authentication key"},
		"dedicated, title left out":    {ded, "authenticated under the dedicated key of 4D534C0200000000 with the authentication key"},
		"general-ciphering identified": {identified(t, s, plain), "authenticated under the unicast key of 4D534C0200000000 with the authentication key"},
	} {
		tree := decode.Decode(c.in, decode.Options{Keys: []decode.Keys{{}, s.keys}})
		if tree.FirstError() != nil || !strings.Contains(tree.String(), c.want) {
			t.Errorf("%s: want %q in:\n%s", name, c.want, tree)
		}
	}
}

// identified is a general-ciphering APDU under the global unicast key, which it names.
func identified(t *testing.T, s session, plain []byte) []byte {
	t.Helper()
	g := apdu.GeneralCiphering{Originator: s.client, Key: apdu.KeyInfo{Kind: apdu.KeyInfoIdentified}, Ciphered: apdu.Ciphered{Tag: apdu.TagGeneralCiphering, Control: byte(security.AuthenticatedEncrypted), Counter: 7}}
	var err error
	if g.Content, err = s.global.SealWith(nil, security.AuthenticatedEncrypted, s.client, 7, g.AAD(), plain); err != nil {
		t.Fatal(err)
	}
	b, err := g.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSeveralUnitsOfAllKindsAreDecodedInOneGo(t *testing.T) {
	get := unhex(plainAPDUs["get-request normal"])
	in, err := hdlc.AppendFrame(nil, hdlc.Frame{Destination: hdlc.ServerAddress(1, 17), Source: hdlc.ClientAddress(16), Control: 0x10, Info: append(unhex("E6E600"), get...)})
	if err != nil {
		t.Fatal(err)
	}
	in = append(in, unhex("0A0B 7E")...) // noise, and a flag alone
	if in, err = wrapper.AppendFrame(in, wrapper.Frame{Source: 16, Destination: 1, APDU: get}); err != nil {
		t.Fatal(err)
	}
	in = append(in, unhex("10 5B FE 59 16 E5")...)
	in = append(append(in, get...), get...)
	tree := decode.Decode(in, decode.Options{})
	var names []string
	for _, c := range tree.Children {
		names = append(names, c.Name)
	}
	want := "hdlc frame, unknown bytes, wrapper frame, m-bus short frame, m-bus acknowledge, get-request, get-request"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s\nwant %s\n%s", got, want, tree)
	}
}

func TestAnHDLCSessionShowsItsParametersAndKinds(t *testing.T) {
	var in []byte
	for _, f := range []hdlc.Frame{
		{Destination: hdlc.ServerAddress(1, 17), Source: hdlc.ClientAddress(16), Control: 0x93},
		{Destination: hdlc.ClientAddress(16), Source: hdlc.ServerAddress(1, 17), Control: 0x73, Info: unhex("818014 0502 0080 0602 0080 0704 00000001 0804 00000007")},
		{Destination: hdlc.ServerAddress(1, 17), Source: hdlc.ClientAddress(16), Control: 0x53},
	} {
		var err error
		if in, err = hdlc.AppendFrame(in, f); err != nil {
			t.Fatal(err)
		}
	}
	tree := decode.Decode(in, decode.Options{})
	text := tree.String()
	for _, w := range []string{"SNRM P, 16 to 1/17", "UA P", "window size, receive: 7", "maximum information field length, transmit: 128", "DISC P"} {
		if !strings.Contains(text, w) {
			t.Errorf("want %q in:\n%s", w, text)
		}
	}
	if tree.FirstError() != nil {
		t.Error(text)
	}
}

func TestBlocksOfAGetResponseAreThePiecesOfOneValue(t *testing.T) {
	value := unhex("0202 0906 0100010800FF 0600001391")
	in := unhex(plainAPDUs["get-request normal"])
	in = append(in, unhex("C402C1 00 00000001 00 06")...)
	in = append(append(in, value[:6]...), unhex("C002C1 00000001 C402C1 01 00000002 00 09")...)
	in = append(in, value[6:]...)
	tree := decode.Decode(in, decode.Options{})
	whole := tree.Find("content of 2 blocks")
	if whole == nil || !bytes.Equal(whole.Buffer, value) || tree.FirstError() != nil || valueOf(tree, "1.0.1.8.0.255") != "5009" {
		t.Fatalf("got:\n%s", tree)
	}
	tree = decode.Decode(unhex("C402C1 01 00000002 00 01 00"), decode.Options{})
	if !strings.Contains(tree.String(), "the blocks before this one are not here") {
		t.Errorf("a last block alone:\n%s", tree)
	}
	tree = decode.Decode(unhex("C402C1 00 00000001 00 01 00 C402C1 01 00000003 00 01 00"), decode.Options{})
	if !strings.Contains(tree.String(), "want number 2") {
		t.Errorf("a gap:\n%s", tree)
	}
	tree = decode.Decode(unhex("E0 00 0001 0000 02 C001"), decode.Options{})
	if tree.Note == "" {
		t.Errorf("the last block is missing:\n%s", tree)
	}
}

// session is a ciphered association, of which only the global keys are known beforehand.
type session struct {
	keys          decode.Keys
	client, meter dlms.SystemTitle
	global, own   *security.Cipher
	secret        string
}

func newSession(t *testing.T) session {
	t.Helper()
	s := session{client: dlms.SystemTitle{'M', 'S', 'L', 1}, meter: dlms.SystemTitle{'M', 'S', 'L', 2}, secret: "A1B2C3D4E5F60718293A4B5C6D7E8F90"}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.keys.Unicast, err = key.NewUnicast(unhex("000102030405060708090A0B0C0D0E0F"))
	check()
	s.keys.Authentication, err = key.NewAuthentication(unhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"))
	check()
	dedicated, err := key.NewDedicated(unhex(s.secret))
	check()
	aead, err := s.keys.Unicast.AEAD()
	check()
	s.global, err = security.NewCipher(aead, s.keys.Authentication)
	check()
	aead, err = dedicated.AEAD()
	check()
	s.own, err = s.global.Session(aead)
	check()
	return s
}

func (s session) seal(t *testing.T, c *security.Cipher, title dlms.SystemTitle, ic dlms.InvocationCounter, tag apdu.Tag, plain []byte) []byte {
	t.Helper()
	content, err := c.Seal(nil, security.AuthenticatedEncrypted, title, ic, plain)
	if err != nil {
		t.Fatal(err)
	}
	b, err := apdu.Ciphered{Tag: tag, Control: byte(security.AuthenticatedEncrypted), Counter: ic, Content: content}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s session) record(t *testing.T) []byte {
	t.Helper()
	initiate, err := apdu.InitiateRequest{DedicatedKey: unhex(s.secret), ResponseAllowed: true, Version: 6, Conformance: 0x1A1D, MaxPDU: 512}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := apdu.AARQ{Context: apdu.ContextLNCiphered, CallingTitle: s.client, UserInformation: s.seal(t, s.global, s.client, 1, apdu.TagGloInitiateRequest, initiate)}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	response := s.seal(t, s.global, s.meter, 1, apdu.TagGloInitiateResponse, unhex("0800065F1F0400001A1D02000007"))
	out, err = apdu.AARE{Context: apdu.ContextLNCiphered, RespondingTitle: s.meter, UserInformation: response}.AppendBinary(out)
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, s.seal(t, s.own, s.client, 1, apdu.TagDedGetRequest, unhex(plainAPDUs["get-request normal"]))...)
	return append(out, s.seal(t, s.own, s.meter, 1, apdu.TagDedGetResponse, unhex(plainAPDUs["get-response normal"]))...)
}

func TestADedicatedKeyThatCameInTheInitiateRequestOpensTheSession(t *testing.T) {
	s := newSession(t)
	tree := decode.Decode(s.record(t), decode.Options{Keys: []decode.Keys{s.keys}})
	text := tree.String()
	if tree.FirstError() != nil || strings.Count(text, "authenticated under the dedicated key of the initiate-request with the authentication key") != 2 {
		t.Fatalf("got:\n%s", text)
	}
	if !strings.Contains(text, "data: 5009 (double-long-unsigned) -- of 3/1.0.1.8.0.255/2 Register: active energy import, total; value") {
		t.Errorf("the response is not explained by the request:\n%s", text)
	}
}

func TestNoKeyAndNoPasswordIsShown(t *testing.T) {
	s := newSession(t)
	hidden := []string{s.secret, "000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF", "7061737377307264", `passw0rd`}
	inputs := map[string][]byte{
		"session":            s.record(t),
		"aarq with password": unhex("60 34 A109060760857405080101 8A020780 8B0760857405080201 AC0A80087061737377307264 BE0E 040C 0100000006 5F04 00007E1F 04B0"),
		"aarq cut":           unhex("60 22 A109060760857405080101 8A020780 8B0760857405080201 AC0A8008706173"),
		"secret attribute":   unhex("C101C1 000F 0000280000FF 07 00 0908 7061737377307264"),
		"secret in blocks":   unhex("C102C1 000F 0000280000FF 07 00 00 00000001 02 0908 C103C1 01 00000002 08 7061737377307264"),
		"secret read":        unhex("C001C1 000F 0000280000FF 07 00 C401C1 00 0908 7061737377307264"),
		"secret method":      unhex("C301C1 000F 0000280000FF 02 01 0908 7061737377307264"),
		"key in clear":       unhex("01 01 10 " + s.secret + " 00 00 06 5F1F0400001A1D 0200"),
		"key cut":            unhex("01 01 10 " + s.secret[:30]),
	}
	// A damaged InitiateRequest, deciphered: its rest has most of the key.
	content := s.seal(t, s.global, s.client, 9, apdu.TagGloInitiateRequest, unhex("01 01 11"+s.secret))
	inputs["damaged and deciphered"] = content
	s.keys.Title = s.client
	for name, in := range inputs {
		tree := decode.Decode(in, decode.Options{Keys: []decode.Keys{s.keys}})
		j, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{tree.String(), string(j), fmt.Sprintf("%v", s.keys)} {
			flat := strings.ReplaceAll(form, " ", "")
			for _, h := range hidden {
				if strings.Contains(flat, h) || len(h) == 32 && strings.Contains(flat, h[:16]) {
					t.Errorf("%s: %s is shown:\n%s", name, h, form)
				}
			}
		}
		if !strings.Contains(tree.String(), "not shown") && !strings.Contains(tree.String(), "!!") {
			t.Errorf("%s: nothing is hidden:\n%s", name, tree)
		}
	}
}

func TestGeneralCipheringIsOpenedWithTheKeyThatItWraps(t *testing.T) {
	s := newSession(t)
	master, err := key.NewMaster(unhex("31313131313131313131313131313132"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := key.NewUnicast(unhex("F0E1D2C3B4A5968778695A4B3C2D1E0F"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := master.Wrap(one)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := one.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	c, err := security.NewCipher(aead, s.keys.Authentication)
	if err != nil {
		t.Fatal(err)
	}
	g := apdu.GeneralCiphering{
		TransactionID: []byte{1, 2}, Originator: s.meter, Recipient: s.client, Key: apdu.KeyInfo{Kind: apdu.KeyInfoWrapped, Ciphered: wrapped},
		Ciphered: apdu.Ciphered{Tag: apdu.TagGeneralCiphering, Control: byte(security.AuthenticatedEncrypted), Counter: 7},
	}
	if g.Content, err = c.SealWith(nil, security.AuthenticatedEncrypted, s.meter, 7, g.AAD(), unhex(plainAPDUs["data-notification"])); err != nil {
		t.Fatal(err)
	}
	in, err := g.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.keys.Master = master
	tree := decode.Decode(in, decode.Options{Keys: []decode.Keys{s.keys}})
	if tree.FirstError() != nil || !strings.Contains(tree.String(), "authenticated under the wrapped key") || valueOf(tree, "1.0.1.8.0.255") != "5009" {
		t.Errorf("got:\n%s", tree)
	}
	in[4] ^= 1 // the transaction-id is authenticated too
	if tree = decode.Decode(in, decode.Options{Keys: []decode.Keys{s.keys}}); tree.FirstError() == nil {
		t.Errorf("another transaction-id passes:\n%s", tree)
	}
}

func TestTheTreeIsBounded(t *testing.T) {
	nulls := append(unhex("C401C1 00 01 82 FFFF"), make([]byte, 0xFFFF)...)
	for _, limit := range []int{1, 2, 7, 100} {
		tree := decode.Decode(nulls, decode.Options{MaxNodes: limit})
		count := 0
		tree.Walk(func(*decode.Node) bool { count++; return true })
		if count > limit+1 || !strings.Contains(tree.String(), "the rest is not shown") {
			t.Errorf("limit %d: %d nodes", limit, count)
		}
	}
	// Blocks in blocks in blocks.
	in := unhex("C001C1 0003 0100010800FF 02 00")
	for range 20 {
		var err error
		if in, err = (apdu.BlockTransfer{Last: true, Number: 1, Data: in}).AppendBinary(nil); err != nil {
			t.Fatal(err)
		}
	}
	if tree := decode.Decode(in, decode.Options{}); !strings.Contains(tree.String(), "nested too deep") {
		t.Errorf("got:\n%s", tree)
	}
}

func TestJSONHasEveryNodeWithItsRangeAndNumber(t *testing.T) {
	j, err := json.Marshal(decode.Decode(unhex(plainAPDUs["get-response normal"]), decode.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"data","type":"double-long-unsigned","value":"5009","number":5009,"offset":4,"size":5,"hex":"0600001391"}`
	if !strings.Contains(string(j), want) {
		t.Errorf("want %s in\n%s", want, j)
	}
}

func TestFramesBehindNoiseAndWithSharedFlagsAreFound(t *testing.T) {
	frame, err := hdlc.AppendFrame(nil, hdlc.Frame{Destination: hdlc.ServerAddress(1, 0), Source: hdlc.ClientAddress(16), Control: 0x53})
	if err != nil {
		t.Fatal(err)
	}
	in := append(unhex("00 FF 7E A0 11 22 03"), frame...)
	in = append(append(in, frame[1:]...), unhex("03 04 05 68 03 03 68 53 FF 00 52 16")...)
	tree := decode.Decode(in, decode.Options{})
	var names []string
	for _, c := range tree.Children {
		names = append(names, c.Name+either(c.Error != "", "!", ""))
	}
	want := "unknown bytes!, hdlc frame, hdlc frame, unknown bytes!, m-bus control frame"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s\nwant %s\n%s", got, want, tree)
	}
}

func either(v bool, yes, no string) string {
	if v {
		return yes
	}
	return no
}
