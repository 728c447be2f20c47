package apdu

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// appender is what every APDU of this package is.
type appender interface {
	AppendBinary(dst []byte) ([]byte, error)
}

// parser is a parse function whatever its type.
type parser func(b []byte) (appender, error)

func parserOf[T appender](parse func([]byte) (T, error)) parser {
	return func(b []byte) (appender, error) { return parse(b) }
}

// Where the published vectors come from.
const (
	// The examples of the DLMS UA Green Book (Annex: AARQ and AARE encoding; ciphered association; xDLMS APDUs), as
	// they stand in the public test suite of dlms-cosem, github.com/u9n/dlms-cosem, tests/.
	greenBook = "Green Book, by github.com/u9n/dlms-cosem tests/"
	// Frames of devices in the same suite.
	u9n = "github.com/u9n/dlms-cosem tests/"
	// Exchanges with meters in the test suite of gosem, github.com/Circutor/gosem, package dlmsclient.
	gosem = "github.com/Circutor/gosem pkg/dlmsclient tests"
	// The test suite of the driver of a commercial head-end.
	eict = "com.energyict.dlms.aso AssociationControlServiceElementTest"
	// Table 41 of the Green Book, 8th edition (ACCESS with general-ciphering, one-pass Diffie-Hellman), as it stands in
	// the public test suite of a descendant of dlms-cosem, test_xdlms/test_general_ciphering.py.
	greenBook41 = "Green Book ed. 8 table 41, by a dlms-cosem test suite"
	// Ours, by hand from the ASN.1 of GB 9.5.
	byHand = "by hand from GB 9.5"
)

type vector struct {
	name, source string
	parse        parser
	hex          string
}

var vectors = []vector{
	{
		"aarq public", u9n + "test_asce/test_aarq.py", parserOf(ParseAARQ),
		"601D A109060760857405080101 BE10040E 01000000065F1F0400001E1DFFFF",
	},
	{
		"aarq lls", eict, parserOf(ParseAARQ),
		"6036 A109060760857405080101 8A020780 8B0760857405080201 AC0A80083132333435363738 BE10040E 01000000065F1F0400007E1F04B0",
	},
	{
		"aarq hls", greenBook + "test_asce/test_aarq.py", parserOf(ParseAARQ),
		"6036 A109060760857405080101 8A020780 8B0760857405080202 AC0A80083132333435363738 BE10040E 01000000065F1F0400007E1FFFFF",
	},
	{
		"aarq hls-gmac", eict, parserOf(ParseAARQ),
		"6036 A109060760857405080101 8A020780 8B0760857405080205 AC0A80084B35366956616759 BE10040E 01000000065F1F0400007E1F04B0",
	},
	{
		"aarq ciphered", greenBook + "test_asce/test_aarq.py", parserOf(ParseAARQ),
		"6066 A109060760857405080103 A60A04084D4D4D0000BC614E 8A020780 8B0760857405080201 AC0A80083132333435363738" +
			"BE340432 21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855",
	},
	{
		"aare accepted", greenBook + "test_asce/test_aare.py", parserOf(ParseAARE),
		"6129 A109060760857405080101 A203020100 A305A103020100 BE10040E 0800065F1F040000501F01F40007",
	},
	{
		"aare context refused", greenBook + "test_asce/test_aare.py", parserOf(ParseAARE),
		"6129 A109060760857405080101 A203020101 A305A103020102 BE10040E 0800065F1F040000501F01F40007",
	},
	{
		"aare with service error", greenBook + "test_asce/test_aare.py", parserOf(ParseAARE),
		"611F A109060760857405080101 A203020101 A305A103020101 BE060404 0E010601",
	},
	{
		"aare hls", greenBook + "test_asce/test_aare.py", parserOf(ParseAARE),
		"6142 A109060760857405080101 A203020100 A305A10302010E 88020780 890760857405080205 AA0A8008503677524A323146" +
			"BE10040E 0800065F1F040000501F01F40007",
	},
	{
		"aare password refused", gosem, parserOf(ParseAARE),
		"6129 A109060760857405080101 A203020101 A305A10302010D BE10040E 0800065F1F040000101400800007",
	},
	{
		"aare without user information", gosem, parserOf(ParseAARE),
		"6117 A109060760857405080101 A203020101 A305A10302010D",
	},
	{
		"aare with qos", eict, parserOf(ParseAARE),
		"612A A109060760857405080101 A203020100 A305A103020100 BE11040F 080100065F1F0400007C1F04000007",
	},
	{"rlrq", u9n + "test_asce/test_rlrq.py", parserOf(ParseRLRQ), "6203800100"},
	{
		"rlrq ciphered", greenBook + "test_asce/test_rlrq.py", parserOf(ParseRLRQ),
		"6239 800100 BE340432 21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855",
	},
	{"rlrq empty", gosem, parserOf(ParseRLRQ), "6200"},
	{"rlre empty", gosem, parserOf(ParseRLRE), "6300"},
	{
		"rlre ciphered", greenBook + "test_asce/test_rlre.py", parserOf(ParseRLRE),
		"6328 800100 BE230421 281F3001234567891214A0845E475714383F65BC19745CA235906525E4F3E1C893",
	},
	{"initiate-request", greenBook + "test_xdlms/test_initiate.py", parserOf(ParseInitiateRequest), "01000000065F1F0400007E1F04B0"},
	{
		"initiate-request with key", greenBook + "test_xdlms/test_initiate.py", parserOf(ParseInitiateRequest),
		"0101 10 00112233445566778899AABBCCDDEEFF 0000065F1F0400007E1F04B0",
	},
	{"initiate-response", greenBook + "test_xdlms/test_initiate.py", parserOf(ParseInitiateResponse), "0800065F1F040000501F01F40007"},
	{"initiate-response with qos", u9n + "test_xdlms/test_initiate.py", parserOf(ParseInitiateResponse), "080100065F1F0400001E1D04C80007"},
	{"confirmed-service-error", greenBook + "test_asce/test_aare.py", parserOf(ParseConfirmedServiceError), "0E010601"},
	{
		"glo-initiate-request", greenBook + "test_xdlms/test_initiate.py", parserOf(ParseCiphered),
		"21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855",
	},
	{
		"glo-initiate-response", greenBook + "test_asce/test_rlre.py", parserOf(ParseCiphered),
		"281F3001234567891214A0845E475714383F65BC19745CA235906525E4F3E1C893",
	},
	{
		"general-glo-ciphering", u9n + "test_general_global_cipher.py", parserOf(ParseGeneralCiphered),
		"DB082F19229199164103 3B 30000001E5 025CE9D2271FD78BE8C204211A916A9D7F587E0A7A814CADEA89E9593F01F92EA8C087B5BDFDEFEAB6BECF282DFE49C08F5BE6DC8400",
	},
	{
		"general-glo-ciphering without title", u9n + "test_general_global_cipher.py", parserOf(ParseGeneralCiphered),
		"DB00 1E 30800000D1 81EC9EC4BF53E9776EF0C453969FBDFE11BE9B791AACC0FF8C",
	},
	{"get-request-normal", u9n + "test_xdlms/test_get.py", parserOf(ParseGetRequest), "C001C1 0001 00002B0100FF 02 00"},
	{
		"get-request-normal by range", u9n + "test_xdlms/test_selective_access.py", parserOf(ParseGetRequest),
		"C001C1 0007 0100630100FF 02 01 01 0204 0204 120008 09060000010000FF 0F02 120000" +
			"090C07E10A010700000000FFC480 090C07E10A010701000000FFC480 0100",
	},
	{"get-request-next", u9n + "test_xdlms/test_get.py", parserOf(ParseGetRequest), "C002C1 00000001"},
	{
		"get-request-with-list", u9n + "test_xdlms/test_get.py", parserOf(ParseGetRequest),
		"C003C1 02 0001 00002A0000FF 02 00 0008 0000010000FF 02 00",
	},
	{"get-response-normal", u9n + "test_xdlms/test_get.py", parserOf(ParseGetResponse), "C401C1 00 0600001391"},
	{"get-response-normal of a clock's zone", gosem, parserOf(ParseGetResponse), "C401C1 00 10003C"},
	{"get-response-normal refused", u9n + "test_xdlms/test_get.py", parserOf(ParseGetResponse), "C401C1 01 01"},
	{"get-response block refused", u9n + "test_xdlms/test_get.py", parserOf(ParseGetResponse), "C402C1 01 00000013 01 01"},
	{
		"get-response-with-list", u9n + "test_xdlms/test_get.py", parserOf(ParseGetResponse),
		"C403C1 02 00 091049534B31303330373737373634333636 00 090C07E50603040E091700FFC400",
	},
	{
		"get-response-with-list of numbers", u9n + "test_xdlms/test_get.py", parserOf(ParseGetResponse),
		"C403C1 09 00120032 00120000 00120000 00120000 00120000 00120000 001208FE" +
			"000207 060190560B 120326 1111 1102 1200F0 120001 120000 00 0205 1202D0 120CA8 1118 1120 0FC0",
	},
	{
		"set-request-normal", u9n + "test_xdlms/test_set.py", parserOf(ParseSetRequest),
		"C101C1 0008 0000010000FF 02 00 090C07E50118FF0E303950FFC400",
	},
	{
		"set-request-with-first-datablock", byHand, parserOf(ParseSetRequest),
		"C102C1 0001 0000600100FF 02 00 00 00000001 03 090401",
	},
	{"set-request-with-datablock", byHand, parserOf(ParseSetRequest), "C103C1 01 00000002 03 020304"},
	{
		"set-request-with-list", byHand, parserOf(ParseSetRequest),
		"C104C1 02 0001 0000600100FF 02 00 0007 0100630100FF 02 01 02 0204 0600000001 0600000002 120001 120000 02 1101 00",
	},
	{
		"set-request-with-list-and-first-datablock", byHand, parserOf(ParseSetRequest),
		"C105C1 01 0001 0000600100FF 02 00 00 00000001 02 0109",
	},
	{"set-response-normal", u9n + "test_xdlms/test_set.py", parserOf(ParseSetResponse), "C501C1 00"},
	{"set-response-datablock", byHand, parserOf(ParseSetResponse), "C502C1 00000001"},
	{"set-response-last-datablock", byHand, parserOf(ParseSetResponse), "C503C1 03 00000002"},
	{"set-response-last-datablock-with-list", byHand, parserOf(ParseSetResponse), "C504C1 02 00 0D 00000002"},
	{"set-response-with-list", byHand, parserOf(ParseSetResponse), "C505C1 02 00 FA"},
	{"action-request-normal", u9n + "test_xdlms/test_action.py", parserOf(ParseActionRequest), "C301C0 000F 0000280000FF 01 00"},
	{"action-request-normal with parameters", byHand, parserOf(ParseActionRequest), "C301C1 0046 000060030AFF 01 01 0F00"},
	{"action-request-next-pblock", byHand, parserOf(ParseActionRequest), "C302C1 00000001"},
	{
		"action-request-with-list", byHand, parserOf(ParseActionRequest),
		"C303C1 02 0046 000060030AFF 01 0046 000060030AFF 02 02 0F00 00",
	},
	{"action-request-with-first-pblock", byHand, parserOf(ParseActionRequest), "C304C1 0012 00002C0000FF 02 00 00000001 02 0202"},
	{
		"action-request-with-list-and-first-pblock", byHand, parserOf(ParseActionRequest),
		"C305C1 01 0012 00002C0000FF 02 00 00000001 02 0102",
	},
	{"action-request-with-pblock", byHand, parserOf(ParseActionRequest), "C306C1 01 00000002 01 09"},
	{"action-response-normal", u9n + "test_xdlms/test_action.py", parserOf(ParseActionResponse), "C701C0 00 00"},
	{
		"action-response-normal with data", u9n + "test_xdlms/test_action.py", parserOf(ParseActionResponse),
		"C701C0 00 01 00 0911 1000001AFDE8857B728A3499106AA665D1",
	},
	{"action-response-normal with reason", u9n + "test_xdlms/test_action.py", parserOf(ParseActionResponse), "C701C0 00 01 01 FA"},
	{"action-response-with-pblock", byHand, parserOf(ParseActionResponse), "C702C1 00 00000001 02 0010"},
	{"action-response-with-list", byHand, parserOf(ParseActionResponse), "C703C1 02 00 00 03 01 01 0C"},
	{"action-response-next-pblock", byHand, parserOf(ParseActionResponse), "C704C1 00000001"},
	{
		"data-notification", u9n + "test_xdlms/test_data_notification.py", parserOf(ParseDataNotification),
		"0F 000001DB 00 0922125A85913600000000490000001100 00000A5A8513D014800000000D0000000A0100",
	},
	{"data-notification with time", byHand, parserOf(ParseDataNotification), "0F 40000001 0C07E50603040E091700FFC400 0600001391"},
	{"event-notification", byHand, parserOf(ParseEventNotification), "C2 00 0001 0000616201FF 02 0600000001"},
	{
		"event-notification with time", byHand, parserOf(ParseEventNotification),
		"C2 01 0C07E50603040E091700FFC400 0001 0000616201FF 02 0600000001",
	},
	{
		"general-ciphering with an agreed key", greenBook41, parserOf(ParseGeneralCiphering),
		"DD080102030405060708 084D4D4D0000BC614E 084D4D4D0000000001 00 00 01 02 0101 8180" +
			"C323C2BD45711DE4688637D919F92E9DB8FB2DFC213A88D21C9DC8DCBA917D8170511DE1BADB360D50058F794B0960AE" +
			"11FA28D392CFF907A62D13E3357B1DC0B51BE089D0B682863B2217201E73A1A9031968A9B4121DCBC3281A69739AF874" +
			"29F5B3AC5471E7B6A04A2C0F2F8A25FD772A317DF97FC5463FEAC248EB8AB8BE 81EB 31 00000000" +
			"F435069679270C5BF4425EE5777402A6C8D51C620EED52DBB188378B836E2857D5C053E6DDF27FA87409AEF502CD9618" +
			"AE47017C010224FD109CC0BEB21E742D44AB40CD11908743EC90EC8C40E221D517F72228E1A26E827F43DC18ED27B5F4" +
			"58D66508B05A2A4CC6FED178C881AFC3BC67064689BE8BB41C80ABB3C114A31F4CB03B8B64C7E0B4CE77B2399C933478" +
			"58888F92239713B38DF01C4858245827A92EF334172EA636B31CBBDF2A96AD5D035F66AA38F1A2D97D4BBA99622E6B5F" +
			"18789CECB2DFB3937D9F3E17F8B472098E6563238F37528374809836002AEA6E7012D2ADFAA7",
	},
	{
		"general-ciphering without key info", byHand, parserOf(ParseGeneralCiphering),
		"DD 0101 084D4D4D0000BC614E 00 0C07E50603040E091700FFC400 02ABCD 00 06 30 00000001 AA",
	},
	{
		"general-ciphering with an identified key", byHand, parserOf(ParseGeneralCiphering),
		"DD 00 084D4D4D0000BC614E 084D4D4D0000000001 00 00 01 00 01 06 30 00000001 AA",
	},
	{
		"general-ciphering with a wrapped key", byHand, parserOf(ParseGeneralCiphering),
		"DD 00 084D4D4D0000BC614E 084D4D4D0000000001 00 00 01 01 00 18" +
			"BB3037110B39EF16021EFD80CB4D5E16B926553BE20B8389 06 30 00000001 AA",
	},
	{"general-block-transfer", byHand, parserOf(ParseBlockTransfer), "E0 41 0001 0000 03 C00141"},
	{"general-block-transfer, last", byHand, parserOf(ParseBlockTransfer), "E0 C1 0002 0001 00"},
	{"exception-response", byHand, parserOf(ParseExceptionResponse), "D8 01 01"},
	{"exception-response with counter", byHand, parserOf(ParseExceptionResponse), "D8 01 06 000001E5"},
}

func TestPublishedAPDUsGoThereAndBack(t *testing.T) {
	for _, v := range vectors {
		in := unhex(t, v.hex)
		p, err := v.parse(in)
		if err != nil {
			t.Errorf("%s (%s): %v", v.name, v.source, err)
			continue
		}
		out, err := p.AppendBinary([]byte{0xEE})
		if err != nil || !bytes.Equal(out[1:], in) {
			t.Errorf("%s (%s):\n got % X, %v\nwant % X", v.name, v.source, out[1:], err, in)
		}
	}
}

func TestEveryTruncationOfEveryAPDUIsRefused(t *testing.T) {
	for _, v := range vectors {
		in := unhex(t, v.hex)
		for n := range in {
			if p, err := v.parse(in[:n]); err == nil {
				t.Errorf("%s cut to %d bytes: parsed as %v", v.name, n, p)
			}
		}
	}
}

func TestTrailingBytesOfEveryAPDUAreRefused(t *testing.T) {
	for _, v := range vectors {
		if _, err := v.parse(append(unhex(t, v.hex), 0)); !errors.Is(err, ErrTrailing) {
			t.Errorf("%s: want ErrTrailing, got %v", v.name, err)
		}
	}
}

func TestEveryParserRefusesOtherAPDUs(t *testing.T) {
	for _, v := range vectors {
		for _, other := range vectors {
			in, its := unhex(t, v.hex), unhex(t, other.hex)
			if in[0] == its[0] || (Tag(in[0]).IsCiphered() && Tag(its[0]).IsCiphered()) {
				continue
			}
			if _, err := v.parse(its); !errors.Is(err, ErrTag) {
				t.Errorf("parser of %s was given %s: want ErrTag, got %v", v.name, other.name, err)
			}
		}
	}
}

// TestEveryByteMayBeWrong changes every byte of every APDU to some values: whatever is still parsed can be appended,
// and what was appended parses to the same bytes.
func TestEveryByteMayBeWrong(t *testing.T) {
	for _, v := range vectors {
		in := unhex(t, v.hex)
		for i := range in {
			for _, b := range []byte{0, 1, 2, 0x7F, 0x80, 0x81, 0x84, 0xFF, in[i] + 1, in[i] ^ 0x20} {
				wrong := bytes.Clone(in)
				wrong[i] = b
				checkStable(t, v.parse, wrong)
			}
		}
	}
}

// checkStable holds that what a parser accepts can be appended, and that this is a fixed point.
func checkStable(t *testing.T, parse parser, in []byte) {
	t.Helper()
	p, err := parse(in)
	if err != nil {
		return
	}
	once, err := p.AppendBinary(nil)
	if err != nil {
		t.Errorf("% X was parsed but cannot be appended: %v", in, err)
		return
	}
	again, err := parse(once)
	if err != nil {
		t.Errorf("% X became % X, which is refused: %v", in, once, err)
		return
	}
	if twice, err := again.AppendBinary(nil); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("% X became % X and then % X, %v", in, once, twice, err)
	}
}
