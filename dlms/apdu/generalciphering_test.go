package apdu

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
)

func drawTitle(rt *rapid.T, name string) dlms.SystemTitle {
	if rapid.Bool().Draw(rt, "no "+name) {
		return dlms.SystemTitle{}
	}
	return dlms.SystemTitle(rapid.SliceOfN(rapid.ByteRange(1, 255), 8, 8).Draw(rt, name))
}

func drawKeyInfo(rt *rapid.T) KeyInfo {
	k := KeyInfo{Kind: KeyInfoKind(rapid.Uint8Range(0, 3).Draw(rt, "kind"))}
	blob := rapid.SliceOfN(rapid.Byte(), 0, 140)
	switch k.Kind {
	case KeyInfoNone:
	case KeyInfoAgreed:
		k.Parameters, k.Ciphered = blob.Draw(rt, "parameters"), blob.Draw(rt, "ciphered")
	case KeyInfoWrapped:
		k.KeyID, k.Ciphered = rapid.Byte().Draw(rt, "kek id"), blob.Draw(rt, "ciphered")
	case KeyInfoIdentified:
		k.KeyID = rapid.Byte().Draw(rt, "key id")
	}
	return k
}

func drawGeneralCiphering(rt *rapid.T) GeneralCiphering {
	blob := rapid.SliceOfN(rapid.Byte(), 0, 140)
	g := GeneralCiphering{
		TransactionID: blob.Draw(rt, "transaction"), Other: blob.Draw(rt, "other"),
		Originator: drawTitle(rt, "originator"), Recipient: drawTitle(rt, "recipient"),
		HasTime: rapid.Bool().Draw(rt, "has time"), Key: drawKeyInfo(rt),
		Ciphered: Ciphered{
			Tag: TagGeneralCiphering, Control: rapid.Byte().Draw(rt, "control"),
			Counter: dlms.InvocationCounter(rapid.Uint32().Draw(rt, "counter")), Content: blob.Draw(rt, "content"),
		},
	}
	if g.HasTime {
		g.Time = dlms.DateTimeUnspecified()
	}
	return g
}

func TestGeneralCipheringGoesThereAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawGeneralCiphering(rt)
		b, err := want.AppendBinary(nil)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := ParseGeneralCiphering(b)
		if err != nil || got.Originator != want.Originator || got.Recipient != want.Recipient ||
			got.HasTime != want.HasTime || got.Time != want.Time || got.Control != want.Control ||
			got.Counter != want.Counter || got.Tag != want.Tag || !bytes.Equal(got.Content, want.Content) ||
			got.Key.Kind != want.Key.Kind || got.Key.KeyID != want.Key.KeyID ||
			!bytes.Equal(got.Key.Ciphered, want.Key.Ciphered) || !bytes.Equal(got.Key.Parameters, want.Key.Parameters) {
			rt.Fatalf("want %+v, got %+v, %v", want, got, err)
		}
		if !bytes.Equal(got.AAD(), want.AAD()) || !bytes.HasPrefix(b[1:], got.AAD()) {
			rt.Fatalf("aad % X of % X", got.AAD(), b)
		}
	})
}

func TestGeneralCipheringNamesWhoSpeaksToWhomAndTheKey(t *testing.T) {
	g, err := ParseGeneralCiphering(unhex(t, vectorNamed(t, "general-ciphering with an agreed key")))
	if err != nil {
		t.Fatal(err)
	}
	if g.Originator.String() != "4D4D4D0000BC614E" || g.Recipient.String() != "4D4D4D0000000001" || g.HasTime ||
		len(g.Other) != 0 || g.Key.Kind != KeyInfoAgreed || len(g.Key.Ciphered) != 128 || g.Control != 0x31 ||
		g.Counter != 0 || len(g.Content) != 0xEB-5 {
		t.Errorf("got %+v", g)
	}
	want := unhex(t, "080102030405060708 084D4D4D0000BC614E 084D4D4D0000000001 00 00")
	if !bytes.Equal(g.AAD(), want) {
		t.Errorf("aad: want % X, got % X", want, g.AAD())
	}
	g, err = ParseGeneralCiphering(unhex(t, vectorNamed(t, "general-ciphering with a wrapped key")))
	if err != nil || g.Key.Kind != KeyInfoWrapped || g.Key.KeyID != KeyIDMaster || len(g.Key.Ciphered) != 24 {
		t.Errorf("got %+v, %v", g, err)
	}
	g, err = ParseGeneralCiphering(unhex(t, vectorNamed(t, "general-ciphering with an identified key")))
	if err != nil || g.Key.Kind != KeyInfoIdentified || g.Key.KeyID != KeyIDGlobalBroadcast {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestGeneralCipheringRefusesOtherShapes(t *testing.T) {
	for in, want := range map[string]error{
		"DD 00 0701020304050607 00 00 00 00 05 3000000001": ErrLength, // a title of seven bytes
		"DD 00 00 00 00 00 01 03 05 3000000001":            ErrValue,  // a fourth kind of key
		"DD 00 00 00 00 00 00 04 30000000":                 ErrLength, // no room for the header
		"DD 00 00 00 00 00 00 05 3000000001 00":            ErrTrailing,
		"DD 84 7FFFFFFF":                                   ErrTruncated,
		"DB 00 05 3000000001":                              ErrTag,
		"DF 00 00 00 00 00 00 05 3000000001":               ErrUnsupported,
	} {
		if _, err := ParseGeneralCiphering(unhex(t, in)); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", in, want, err)
		}
	}
	if _, err := ParseGeneralCiphering(unhex(t, "DD 00 00 00 0B0102030405060708090A0B 00 00 05 3000000001")); !errors.Is(err, dlms.ErrDateTime) {
		t.Errorf("a time of eleven bytes: got %v", err)
	}
	if _, err := (GeneralCiphering{Key: KeyInfo{Kind: 4}}).AppendBinary(nil); !errors.Is(err, ErrValue) {
		t.Errorf("a fourth kind of key: got %v", err)
	}
}

func TestGeneralSigningIsRefusedByName(t *testing.T) {
	in := unhex(t, "DF 00 00 00 00 00 00 00")
	for name, parse := range map[string]parser{
		"ciphered": parserOf(ParseCiphered), "general-ciphered": parserOf(ParseGeneralCiphered),
		"general-ciphering": parserOf(ParseGeneralCiphering),
	} {
		if _, err := parse(in); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "general-signing") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
