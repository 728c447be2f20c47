package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// ReleaseReason is the reason of an RLRQ or RLRE (GB 9.4.2.2.6).
type ReleaseReason uint8

// Release reasons. 1 means urgent in a request and not-finished in a response.
const (
	ReleaseNormal      ReleaseReason = 0
	ReleaseUrgent      ReleaseReason = 1
	ReleaseNotFinished ReleaseReason = 1
	ReleaseUserDefined ReleaseReason = 30
)

// Release is what RLRQ and RLRE have in common (GB 9.4.2).
//
//	RLRQ-apdu ::= [APPLICATION 2] IMPLICIT SEQUENCE {
//	  reason           [0]  IMPLICIT INTEGER OPTIONAL,
//	  user-information [30] EXPLICIT OPTIONAL }
type Release struct {
	// HasReason says whether Reason is sent.
	HasReason bool
	Reason    ReleaseReason
	// UserInformation is an InitiateRequest, or in an RLRE an InitiateResponse, plain or ciphered; nil is absent.
	UserInformation []byte
}

// RLRQ asks to release the association.
type RLRQ struct{ Release }

// RLRE answers an RLRQ.
type RLRE struct{ Release }

// ParseRLRQ parses an RLRQ.
func ParseRLRQ(b []byte) (RLRQ, error) {
	v, err := parseRelease(b, TagRLRQ)
	return RLRQ{v}, err
}

// ParseRLRE parses an RLRE.
func ParseRLRE(b []byte) (RLRE, error) {
	v, err := parseRelease(b, TagRLRE)
	return RLRE{v}, err
}

// AppendBinary appends the RLRQ.
func (q RLRQ) AppendBinary(dst []byte) ([]byte, error) { return q.appendTo(dst, TagRLRQ), nil }

// AppendBinary appends the RLRE.
func (e RLRE) AppendBinary(dst []byte) ([]byte, error) { return e.appendTo(dst, TagRLRE), nil }

func parseRelease(b []byte, want Tag) (Release, error) {
	r := wire.NewReader(b)
	v := readRelease(&r, want)
	if err := done(&r, want); err != nil {
		return Release{}, err
	}
	return v, nil
}

func readRelease(r *wire.Reader, want Tag) Release {
	var v Release
	if got, ok := r.Peek(); ok && Tag(got) != want {
		expectTag(r, want)
	}
	_, body := r.Element()
	f := fieldsOf(body)
	for f.next() {
		switch f.tag {
		case 0x80:
			v.HasReason, v.Reason = true, readReason(&f.body)
		case tagUserInformation:
			v.UserInformation = readUserInformation(&f.body)
		default:
			unknownField(f.tag, &f.body)
		}
	}
	r.Join(&f.of)
	return v
}

func readReason(field *wire.Reader) ReleaseReason {
	n := field.In("reason").Integer()
	if field.Err() == nil && (n < 0 || n > 0xFF) {
		field.Fail(fmt.Errorf("%w: %d", ErrValue, n))
	}
	return ReleaseReason(n)
}

func (v Release) appendTo(dst []byte, tag Tag) []byte {
	dst, mark := wire.Begin(dst, byte(tag))
	if v.HasReason {
		dst = wire.AppendInteger(dst, 0x80, int64(v.Reason))
	}
	dst = appendExplicit(dst, tagUserInformation, wire.TagOctetString, v.UserInformation)
	return wire.End(dst, mark)
}
