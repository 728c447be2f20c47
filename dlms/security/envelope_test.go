package security_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestSealInPlaceGivesWhatSealAndTheEncoderGive(t *testing.T) {
	tags := []apdu.Tag{apdu.TagGloInitiateRequest, apdu.TagDedGetResponse, apdu.TagGloActionRequest, apdu.TagGeneralGlo, apdu.TagGeneralDed}
	rapid.Check(t, func(rt *rapid.T) {
		c := newCipher(t, ek, rapid.SampledFrom([][]byte{nil, ak}).Draw(rt, "ak"))
		e := security.Envelope{
			Tag: rapid.SampledFrom(tags).Draw(rt, "tag"), Control: rapid.SampledFrom(bothControls).Draw(rt, "control"),
			Title: rapid.SampledFrom([]dlms.SystemTitle{alice, bob}).Draw(rt, "title"), Counter: dlms.InvocationCounter(rapid.Uint32().Draw(rt, "ic")),
		}
		n := rapid.SampledFrom([]int{0, 1, 109, 110, 111, 238, 239, 65517, 65518, 65519, 500}).Draw(rt, "size")
		text := bytes.Repeat([]byte{0xA5}, n)

		content, err := c.Seal(nil, e.Control, e.Title, e.Counter, text)
		if err != nil {
			rt.Fatal(err)
		}
		g := apdu.GeneralCiphered{Title: e.Title, Ciphered: apdu.Ciphered{Tag: e.Tag, Control: byte(e.Control), Counter: e.Counter, Content: content}}
		want, err := g.Ciphered.AppendBinary(nil)
		if e.Tag.IsGeneral() {
			want, err = g.AppendBinary(nil)
		}
		if err != nil {
			rt.Fatal(err)
		}
		room := rapid.SampledFrom([]int{0, 5, security.TagSize, 100}).Draw(rt, "room")
		b := append(make([]byte, security.Reserve, security.Reserve+n+room), text...)
		got, err := c.SealInPlace(b, e)
		if err != nil || !bytes.Equal(got, want) {
			rt.Fatalf("want % X, got % X, %v", want, got, err)
		}
	})
}

func TestSealInPlaceRefusesNoRoomOtherTagsAndBadControls(t *testing.T) {
	c := newCipher(t, ek, ak)
	good := security.Envelope{Tag: apdu.TagDedGetResponse, Control: security.AuthenticatedEncrypted, Title: alice, Counter: 1}
	plainTag, encryptedOnly := good, good
	plainTag.Tag, encryptedOnly.Control = apdu.TagGetResponse, security.Encrypted
	for _, v := range []struct {
		b    []byte
		e    security.Envelope
		want error
	}{
		{make([]byte, security.Reserve-1), good, security.ErrReserve},
		{nil, good, security.ErrReserve},
		{make([]byte, 40), plainTag, apdu.ErrTag},
		{make([]byte, 40), encryptedOnly, security.ErrEncryptedOnly},
	} {
		if got, err := c.SealInPlace(v.b, v.e); !errors.Is(err, v.want) || got != nil {
			t.Errorf("want %v, got % X, %v", v.want, got, err)
		}
	}
}
