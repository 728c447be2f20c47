package apdu

import (
	"bytes"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
)

// The numbers are those of GB 9.5, XDLMS-APDU, checked against the ASN.1 of jDLMS (asn1/cosem/cosem.asn).
func TestCipheredTagsAreThoseOfTheStandard(t *testing.T) {
	for _, c := range []struct {
		plain, glo, ded Tag
		name            string
	}{
		{TagInitiateRequest, 33, 0, "initiate-request"},
		{TagInitiateResponse, 40, 0, "initiate-response"},
		{TagConfirmedServiceError, 46, 78, "confirmed-service-error"},
		{TagGetRequest, 200, 208, "get-request"},
		{TagSetRequest, 201, 209, "set-request"},
		{TagEventNotification, 202, 210, "event-notification-request"},
		{TagActionRequest, 203, 211, "action-request"},
		{TagGetResponse, 204, 212, "get-response"},
		{TagSetResponse, 205, 213, "set-response"},
		{TagActionResponse, 207, 215, "action-response"},
	} {
		if tag, ok := CipheredTag(c.plain, false); !ok || tag != c.glo || tag.String() != "glo-"+c.name {
			t.Errorf("%s: global %d, %v", c.plain, tag, ok)
		}
		if plain, dedicated, ok := PlainTag(c.glo); !ok || dedicated || plain != c.plain {
			t.Errorf("%d: %s, %v, %v", c.glo, plain, dedicated, ok)
		}
		tag, ok := CipheredTag(c.plain, true)
		if ok != (c.ded != 0) || (ok && tag != c.ded) {
			t.Errorf("%s: dedicated %d, %v", c.plain, tag, ok)
		}
		if c.ded == 0 {
			continue
		}
		if plain, dedicated, ok := PlainTag(c.ded); !ok || !dedicated || plain != c.plain || c.ded.String() != "ded-"+c.name {
			t.Errorf("%d: %s, %v, %v", c.ded, plain, dedicated, ok)
		}
	}
}

func TestPlainTagAndCipheredTagAreInverse(t *testing.T) {
	ciphered := 0
	for i := range 256 {
		tag := Tag(i)
		plain, dedicated, ok := PlainTag(tag)
		if tag.IsCiphered() != ok {
			t.Errorf("%s: IsCiphered %v", tag, tag.IsCiphered())
		}
		if !ok {
			continue
		}
		ciphered++
		if back, ok := CipheredTag(plain, dedicated); !ok || back != tag {
			t.Errorf("%s is %s, which is %s", tag, plain, back)
		}
	}
	if ciphered != 18 {
		t.Errorf("%d ciphered tags, want 18", ciphered)
	}
}

func TestEveryTagHasANameOfItsOwn(t *testing.T) {
	seen := map[string]Tag{}
	for i := range 256 {
		name := Tag(i).String()
		if other, ok := seen[name]; ok {
			t.Errorf("%#x and %#x are both %s", byte(other), i, name)
		}
		seen[name] = Tag(i)
	}
	for _, tag := range []Tag{
		TagAARQ, TagAARE, TagRLRQ, TagRLRE, TagConfirmedServiceError, TagDataNotification, TagExceptionResponse,
		TagAccessRequest, TagAccessResponse, TagGeneralGlo, TagGeneralDed, TagGeneralCiphering, TagGeneralSigning,
		TagGeneralBlockTransfer,
	} {
		if name := tag.String(); len(name) > 4 && name[:4] == "apdu" {
			t.Errorf("%#x has no name", byte(tag))
		}
	}
}

func TestGeneralCipheredNamesItsOriginator(t *testing.T) {
	g, err := ParseGeneralCiphered(unhex(t, vectorNamed(t, "general-glo-ciphering")))
	if err != nil || g.Title.String() != "2F19229199164103" || g.Control != 0x30 || g.Counter != 0x1E5 || len(g.Content) != 54 {
		t.Errorf("got %+v, %v", g, err)
	}
	if g, err = ParseGeneralCiphered(unhex(t, vectorNamed(t, "general-glo-ciphering without title"))); err != nil || !g.Title.IsZero() {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestCipheredRefusesLiesAndOtherForms(t *testing.T) {
	title := "080102030405060708"
	for in, want := range map[string]error{
		"C8 04 30000000":                       ErrLength,    // shorter than the security header
		"C8 00":                                ErrLength,    //
		"C8 06 3000000001":                     ErrTruncated, // a content that is not there
		"C8 84 7FFFFFFF 3000000001":            ErrTruncated, //
		"C8 05 3000000001 00":                  ErrTrailing,  //
		"DB 07 01020304050607 05 3000000001":   ErrLength,    // a title of seven bytes
		"DB 08 0000000000000000 05 3000000001": ErrValue,     // of zeros
		"DB " + title + " 04 30000000":         ErrLength,
		"DD " + title + " 05 3000000001":       ErrTag,
		"DF " + title + " 05 3000000001":       ErrUnsupported,
		"C0 01 C1":                             ErrTag,
		"":                                     ErrTruncated,
	} {
		b := unhex(t, in)
		var err error
		if len(b) > 0 && Tag(b[0]).IsGeneral() {
			_, err = ParseGeneralCiphered(b)
		} else {
			_, err = ParseCiphered(b)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", in, want, err)
		}
	}
	if _, err := ParseCiphered(unhex(t, "DB 00 05 3000000001")); !errors.Is(err, ErrTag) {
		t.Errorf("want ErrTag, got %v", err)
	}
	if _, err := ParseGeneralCiphered(unhex(t, "C8 05 3000000001")); !errors.Is(err, ErrTag) {
		t.Errorf("want ErrTag, got %v", err)
	}
}

func TestAppendHeaderLeavesTheContentToTheCaller(t *testing.T) {
	content := bytes.Repeat([]byte{0xAB}, 200)
	c := Ciphered{Tag: TagDedGetResponse, Control: 0x30, Counter: 7, Content: content}
	whole, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	head, err := c.AppendHeader(nil, len(content))
	if err != nil || !bytes.Equal(append(head, content...), whole) {
		t.Errorf("got % X, %v", head, err)
	}
	g := GeneralCiphered{Title: dlms.SystemTitle{1}, Ciphered: Ciphered{Tag: TagGeneralDed, Content: content}}
	if whole, err = g.AppendBinary(nil); err != nil {
		t.Fatal(err)
	}
	if head, err = g.AppendHeader(nil, len(content)); err != nil || !bytes.Equal(append(head, content...), whole) {
		t.Errorf("got % X, %v", head, err)
	}
}
