package apdu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

func TestAARQSaysWhoAsksForWhat(t *testing.T) {
	// The ciphered example of the Green Book, by dlms-cosem tests/test_asce/test_aarq.py.
	q, err := ParseAARQ(unhex(t, vectorNamed(t, "aarq ciphered")))
	if err != nil {
		t.Fatal(err)
	}
	if q.Context != ContextLNCiphered || q.CallingTitle.String() != "4D4D4D0000BC614E" || !q.Authentication ||
		q.Mechanism != MechanismLLS || string(q.AuthenticationValue) != "12345678" {
		t.Errorf("got %s", q)
	}
	c, err := ParseCiphered(q.UserInformation)
	if err != nil {
		t.Fatal(err)
	}
	if c.Tag != TagGloInitiateRequest || c.Control != 0x30 || c.Counter != 0x01234567 || len(c.Content) != 31+12 {
		t.Errorf("got %+v", c)
	}
}

func vectorNamed(t testing.TB, name string) string {
	t.Helper()
	for _, v := range vectors {
		if v.name == name {
			return v.hex
		}
	}
	t.Fatalf("no vector %s", name)
	return ""
}

func TestInitiateRequestCarriesKeyConformanceAndSize(t *testing.T) {
	q, err := ParseInitiateRequest(unhex(t, vectorNamed(t, "initiate-request with key")))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(q.DedicatedKey, unhex(t, "00112233445566778899AABBCCDDEEFF")) || !q.ResponseAllowed ||
		q.ProposedQoS != nil || q.Version != DLMSVersion || q.MaxPDU != 1200 {
		t.Errorf("got %s", q)
	}
	// 007E1F: the LN services that the Green Book's client proposes.
	want := ConformanceAttribute0WithGet | ConformancePriorityManagement | ConformanceBlockTransferGet |
		ConformanceBlockTransferSet | ConformanceBlockTransferAction | ConformanceMultipleReferences |
		ConformanceGet | ConformanceSet | ConformanceSelectiveAccess | ConformanceEventNotification | ConformanceAction
	if q.Conformance != want {
		t.Errorf("got %s, want %s", q.Conformance, want)
	}
}

func TestInitiateResponseCarriesWhatWasAgreed(t *testing.T) {
	p, err := ParseInitiateResponse(unhex(t, vectorNamed(t, "initiate-response with qos")))
	if err != nil {
		t.Fatal(err)
	}
	if p.QoS == nil || *p.QoS != 0 || p.Version != DLMSVersion || p.MaxPDU != 0x04C8 || p.VAAName != VAANameLN {
		t.Errorf("got %+v", p)
	}
}

// The numbering is that of GB 9.4.6.1, checked against two independent tables of names (the ASN.1 of jDLMS, a server
// configuration of Atmel): bit 0 is the most significant of the three bytes.
func TestConformanceBitsStandWhereTheStandardPutsThem(t *testing.T) {
	for bit, c := range map[int]Conformance{
		1: ConformanceGeneralProtection, 2: ConformanceGeneralBlockTransfer, 3: ConformanceRead, 4: ConformanceWrite,
		5: ConformanceUnconfirmedWrite, 6: ConformanceDeltaValueEncoding, 8: ConformanceAttribute0WithSet,
		9: ConformancePriorityManagement, 10: ConformanceAttribute0WithGet, 11: ConformanceBlockTransferGet,
		12: ConformanceBlockTransferSet, 13: ConformanceBlockTransferAction, 14: ConformanceMultipleReferences,
		15: ConformanceInformationReport, 16: ConformanceDataNotification, 17: ConformanceAccess,
		18: ConformanceParameterizedAccess, 19: ConformanceGet, 20: ConformanceSet, 21: ConformanceSelectiveAccess,
		22: ConformanceEventNotification, 23: ConformanceAction,
	} {
		var block [3]byte
		block[bit/8] = 0x80 >> (bit % 8)
		want := Conformance(block[0])<<16 | Conformance(block[1])<<8 | Conformance(block[2])
		if c != want {
			t.Errorf("bit %d: got %06X, want %06X", bit, uint32(c), uint32(want))
		}
	}
	// What a commercial head-end's driver proposes to a Linky meter.
	linky := ConformanceGet | ConformanceSet | ConformanceAction | ConformanceSelectiveAccess |
		ConformanceBlockTransferGet | ConformanceBlockTransferSet | ConformanceMultipleReferences
	if linky != 0x001A1D {
		t.Errorf("got %06X, want 001A1D", uint32(linky))
	}
	if got := (ConformanceGet | ConformanceAction).String(); got != "get+action" {
		t.Errorf("got %s", got)
	}
	if Conformance(0).String() != "none" || !linky.Has(ConformanceGet|ConformanceSet) || linky.Has(ConformanceAccess) {
		t.Error("wrong names or Has")
	}
	if _, err := (InitiateRequest{Version: 6, Conformance: 1 << 24}).AppendBinary(nil); !errors.Is(err, ErrValue) {
		t.Errorf("25 bits: want ErrValue, got %v", err)
	}
}

func TestConformanceUnderItsOldTagIsAccepted(t *testing.T) {
	q, err := ParseInitiateRequest(unhex(t, "01000000065F0400007E1F04B0"))
	if err != nil || q.Conformance != 0x007E1F || q.MaxPDU != 1200 {
		t.Errorf("got %s, %v", q, err)
	}
	out, err := q.AppendBinary(nil)
	if err != nil || !bytes.Equal(out, unhex(t, vectorNamed(t, "initiate-request"))) {
		t.Errorf("got % X, %v", out, err)
	}
}

func TestAAREGivesResultAndReason(t *testing.T) {
	for name, want := range map[string]AARE{
		"aare accepted":         {Result: AssociationAccepted, Diagnostic: DiagnosticNull},
		"aare context refused":  {Result: AssociationRejectedPermanent, Diagnostic: DiagnosticContextNotSupported},
		"aare password refused": {Result: AssociationRejectedPermanent, Diagnostic: DiagnosticAuthenticationFailure},
		"aare hls": {
			Result: AssociationAccepted, Diagnostic: DiagnosticAuthenticationRequired, Authentication: true,
			Mechanism: MechanismHLSGMAC, AuthenticationValue: []byte("P6wRJ21F"),
		},
	} {
		e, err := ParseAARE(unhex(t, vectorNamed(t, name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Context != ContextLN || e.Result != want.Result || e.Diagnostic != want.Diagnostic ||
			e.Authentication != want.Authentication || e.Mechanism != want.Mechanism ||
			!bytes.Equal(e.AuthenticationValue, want.AuthenticationValue) {
			t.Errorf("%s: got %+v", name, e)
		}
	}
}

func TestAssociationKeepsEveryOptionalField(t *testing.T) {
	title := dlms.SystemTitle{'M', 'S', 'L', 1, 2, 3, 4, 5}
	qos := int8(-1)
	q := AARQ{
		ProtocolVersion: []byte{7, 0x80}, Context: ContextLNCiphered, CalledAPTitle: []byte{1}, CalledAEQualifier: []byte{},
		CalledAPID: InvocationID{true, 1}, CalledAEID: InvocationID{true, -1}, CallingTitle: title,
		CallingAEQualifier: []byte{2}, CallingAPID: InvocationID{true, 300}, CallingAEID: InvocationID{true, 0},
		Authentication: true, Mechanism: MechanismHLSECDSA, AuthenticationValue: bytes.Repeat([]byte{7}, 64),
		Implementation: []byte("meterseal"), UserInformation: bytes.Repeat([]byte{9}, 300),
	}
	b, err := q.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseAARQ(b); err != nil || deep(got) != deep(q) {
		t.Errorf("got  %s, %v\nwant %s", deep(got), err, deep(q))
	}
	e := AARE{
		ProtocolVersion: []byte{2, 0x84}, Context: ContextLN, Result: AssociationRejectedTransient,
		Diagnostic: DiagnosticNoCommonVersion, RespondingTitle: title, RespondingAEQualifier: []byte{1},
		RespondingAPID: InvocationID{true, 1 << 40}, RespondingAEID: InvocationID{true, -129}, Authentication: true,
		Mechanism: MechanismLowest, AuthenticationValue: []byte{}, Implementation: []byte{}, UserInformation: []byte{},
	}
	if b, err = e.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseAARE(b); err != nil || deep(got) != deep(e) {
		t.Errorf("got  %s, %v\nwant %s", deep(got), err, deep(e))
	}
	i := InitiateRequest{ProposedQoS: &qos, Version: 6, Conformance: 1, MaxPDU: 0xFFFF}
	if b, err = i.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseInitiateRequest(b); err != nil || got.ResponseAllowed || *got.ProposedQoS != -1 {
		t.Errorf("got %s, %v", got, err)
	}
}

// deep prints all fields, which AARQ itself does not.
func deep(v any) string {
	type bareAARQ AARQ
	if q, ok := v.(AARQ); ok {
		return fmt.Sprintf("%#v", bareAARQ(q))
	}
	return fmt.Sprintf("%#v", v)
}

func TestAssociationRefusesWhatItDoesNotKnow(t *testing.T) {
	const name = "A109060760857405080101"
	for in, want := range map[string]string{
		"6000":                                      "parse aarq: byte 2: no application context name",
		"6003 A20100":                               "parse aarq: called ap title: byte 4: bad value: want tag 0x04, got 0x00",
		"600D " + name + "A000":                     "parse aarq: byte 15: bad value: field 0xa0 is out of order or comes twice",
		"6016 " + name + name:                       "parse aarq: byte 24: bad value: field 0xa1 is out of order or comes twice",
		"600D " + name + "B100":                     "parse aarq: byte 15: bad value: unknown field 0xb1",
		"600D " + name + "AD00":                     "parse aarq: byte 15: bad value: unknown field 0xad",
		"6013 " + name + "A606040501020304":         "parse aarq: system title: byte 17: truncated: want 5 bytes, got 4",
		"6016 " + name + "A609040701020304050607":   "parse aarq: system title: byte 24: bad length: want 8 bytes, got 7",
		"6017 " + name + "A60A04080000000000000000": "parse aarq: system title: byte 25: bad value: all zero",
		"600B A109060760857405080201":               "parse aarq: application context: byte 12: bad value: object identifier 608574050802 is not of dlms",
		"600B A109060760857405080100":               "parse aarq: application context: byte 13: bad value: 0",
		"600F " + name + "8A020700":                 "parse aarq: acse requirements: byte 17: bad value: want 07 80, got 07 00",
		"6014 " + name + "8B0760857405080101":       "parse aarq: mechanism name: byte 21: bad value: object identifier 608574050801 is not of dlms",
		"6012 " + name + "AC058003010203":           "parse aarq: authentication value: byte 20: bad value: without acse requirements and mechanism name",
		"6014 " + name + "8A020780 AC03810180":      "parse aarq: authentication value: byte 19: bad value: want tag 0x80, got 0x81",
		"600F 80020740" + name:                      "parse aarq: protocol version: byte 6: bad value: want version 1, got 07 40",
		"61 0B " + name:                             "parse aarq: byte 0: not this apdu: want aarq, got aare",
		"60 84FFFFFFFF " + name:                     "parse aarq: byte 6: bad length: 4294967295 is more than any apdu holds",
		"60 80 " + name + "0000":                    "parse aarq: byte 2: bad length: length octet 0x80",
		"600D " + name + "BF1F":                     "parse aarq: byte 13: bad value: tag 0xbf takes more than one octet",
		"6010 " + name + "A403020000":               "",
		"6010 " + name + "BE03040500":               "parse aarq: user information: byte 17: truncated: want 5 bytes, got 1",
	} {
		_, err := ParseAARQ(unhex(t, in))
		if err == nil || (want != "" && err.Error() != want) {
			t.Errorf("%s:\n got %v\nwant %s", in, err, want)
		}
	}
	for in, want := range map[string]string{
		"610B " + name: "parse aare: byte 13: application context, result or diagnostic is missing",
		"6117 " + name + "A203020103 A305A103020100":   "parse aare: result: byte 18: bad value: want 0 to 2, got 3",
		"6117 " + name + "A203020100 A305A303020100":   "parse aare: result source diagnostic: byte 25: bad value: want tag 0xa1 or 0xa2, got 0xa3",
		"6118 " + name + "A203020100 A306A10402020100": "parse aare: result source diagnostic: byte 26: bad value: want 0 to 255, got 256",
	} {
		if _, err := ParseAARE(unhex(t, in)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", in, err, want)
		}
	}
	for _, in := range []string{"62038001 00 00", "6203810100", "6205800100 8000", "62048002 0100"} {
		if v, err := ParseRLRQ(unhex(t, in)); err == nil {
			t.Errorf("%s: parsed as %+v", in, v)
		}
	}
}

func TestAppendRefusesAnAssociationThatMakesNoSense(t *testing.T) {
	for _, p := range []appender{
		AARQ{},
		AARQ{Context: ContextLN, Mechanism: MechanismLLS},
		AARQ{Context: ContextLN, AuthenticationValue: []byte{}},
		AARE{},
		AARE{Context: ContextLN, Result: 3},
		AARE{Context: ContextLN, Diagnostic: 0x300},
		AARE{Context: ContextLN, AuthenticationValue: []byte{}},
		InitiateRequest{DedicatedKey: make([]byte, 15)},
		InitiateResponse{Conformance: 1 << 30},
	} {
		if out, err := p.AppendBinary(nil); err == nil {
			t.Errorf("%v was appended as % X", p, out)
		}
	}
}

func TestAnotherFormBecomesTheCanonicalOne(t *testing.T) {
	canonical := vectorNamed(t, "aarq lls")
	for _, in := range []string{
		// a mechanism without the ACSE requirements
		"6032 A109060760857405080101 8B0760857405080201 AC0A80083132333435363738 BE10040E 01000000065F1F0400007E1F04B0",
		// lengths in two and three octets
		"608137 A18109060760857405080101 8A020780 8B0760857405080201 AC0A80083132333435363738 BE10040E 01000000065F1F0400007E1F04B0",
		"60820037 A109060760857405080101 8A020780 8B0760857405080201 AC0B8081083132333435363738 BE10040E 01000000065F1F0400007E1F04B0",
		// application context negotiation asked for as well
		"6036 A109060760857405080101 8A0207C0 8B0760857405080201 AC0A80083132333435363738 BE10040E 01000000065F1F0400007E1F04B0",
	} {
		q, err := ParseAARQ(unhex(t, in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if out, err := q.AppendBinary(nil); err != nil || !bytes.Equal(out, unhex(t, canonical)) {
			t.Errorf("%s became % X, %v", in, out, err)
		}
	}
}

func TestACSERequirementsWithoutANameMeanTheLowestMechanism(t *testing.T) {
	in := unhex(t, "600F A109060760857405080101 8A020780")
	r := wire.NewReader(in)
	q := readAARQ(&r)
	if r.Done() != nil || !q.Authentication || q.Mechanism != MechanismLowest || !r.Lax() {
		t.Errorf("got %s, %v, lax %v", q, r.Err(), r.Lax())
	}
	out, err := q.AppendBinary(nil)
	if err != nil || !bytes.Equal(out, unhex(t, "6018 A109060760857405080101 8A020780 8B0760857405080200")) {
		t.Errorf("got % X, %v", out, err)
	}
	in = unhex(t, "611B A109060760857405080101 A203020100 A305A103020100 88020780")
	r = wire.NewReader(in)
	if e := readAARE(&r); r.Done() != nil || !e.Authentication || !r.Lax() {
		t.Errorf("got %+v, %v, lax %v", e, r.Err(), r.Lax())
	}
}

func TestNoVerbAndNoMarshallerShowsASecret(t *testing.T) {
	secret := []byte("SeCrEtSeCrEtSeCr")
	q := InitiateRequest{DedicatedKey: secret, Version: 6}
	plain, err := q.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := AARQ{Context: ContextLN, Authentication: true, Mechanism: MechanismLLS, AuthenticationValue: secret, UserInformation: plain}
	shown := map[string]string{}
	for _, v := range []any{q, &q, a, &a, []any{q, a}, struct{ Q InitiateRequest }{q}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			shown[fmt.Sprintf("%T %s", v, verb)] = fmt.Sprintf(verb, v)
		}
		j, err := json.Marshal(v)
		shown[fmt.Sprintf("%T json %v", v, err)] = string(j)
		var text, structured bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("apdu", "v", v)
		slog.New(slog.NewJSONHandler(&structured, nil)).Info("apdu", "v", v)
		shown[fmt.Sprintf("%T slog text", v)] = text.String()
		shown[fmt.Sprintf("%T slog json", v)] = structured.String()
	}
	for how, got := range shown {
		for _, leak := range []string{string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), "83 101 67", "U2VDckV0"} {
			if strings.Contains(got, leak) {
				t.Errorf("%s shows the secret: %s", how, got)
			}
		}
	}
}
