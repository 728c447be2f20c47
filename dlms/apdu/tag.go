package apdu

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// Errors of this package, always wrapped with the APDU's name, the field and its offset.
var (
	// ErrTag is returned for an APDU of another kind than the one to be parsed.
	ErrTag = errors.New("not this apdu")
	// ErrUnsupported is returned for a form that the standard has and this module does not serve.
	ErrUnsupported = errors.New("not supported")
	// ErrTruncated is returned for an APDU that ends too early.
	ErrTruncated = wire.ErrTruncated
	// ErrTrailing is returned for bytes behind an APDU.
	ErrTrailing = wire.ErrTrailing
	// ErrLength is returned for a length that cannot be.
	ErrLength = wire.ErrLength
	// ErrValue is returned for a field with a value that the standard does not have.
	ErrValue = wire.ErrValue
)

// Tag is the first byte of an APDU (GB 9.5, XDLMS-APDU; GB 9.4.2 for the association's).
type Tag byte

// Tags of the association's APDUs, in BER.
const (
	TagAARQ Tag = 0x60
	TagAARE Tag = 0x61
	TagRLRQ Tag = 0x62
	TagRLRE Tag = 0x63
)

// Tags of the xDLMS APDUs without protection.
const (
	TagInitiateRequest       Tag = 0x01
	TagInitiateResponse      Tag = 0x08
	TagConfirmedServiceError Tag = 0x0E
	TagDataNotification      Tag = 0x0F
	TagGetRequest            Tag = 0xC0
	TagSetRequest            Tag = 0xC1
	TagEventNotification     Tag = 0xC2
	TagActionRequest         Tag = 0xC3
	TagGetResponse           Tag = 0xC4
	TagSetResponse           Tag = 0xC5
	TagActionResponse        Tag = 0xC7
	TagExceptionResponse     Tag = 0xD8
	TagAccessRequest         Tag = 0xD9
	TagAccessResponse        Tag = 0xDA
	TagGeneralBlockTransfer  Tag = 0xE0
)

// Tags of the ciphered xDLMS APDUs: under the global key, and under the dedicated key of the association.
const (
	TagGloInitiateRequest       Tag = 0x21
	TagGloInitiateResponse      Tag = 0x28
	TagGloConfirmedServiceError Tag = 0x2E
	TagGloGetRequest            Tag = 0xC8
	TagGloSetRequest            Tag = 0xC9
	TagGloEventNotification     Tag = 0xCA
	TagGloActionRequest         Tag = 0xCB
	TagGloGetResponse           Tag = 0xCC
	TagGloSetResponse           Tag = 0xCD
	TagGloActionResponse        Tag = 0xCF

	TagDedConfirmedServiceError Tag = 0x4E
	TagDedGetRequest            Tag = 0xD0
	TagDedSetRequest            Tag = 0xD1
	TagDedEventNotification     Tag = 0xD2
	TagDedActionRequest         Tag = 0xD3
	TagDedGetResponse           Tag = 0xD4
	TagDedSetResponse           Tag = 0xD5
	TagDedActionResponse        Tag = 0xD7

	TagGeneralGlo       Tag = 0xDB
	TagGeneralDed       Tag = 0xDC
	TagGeneralCiphering Tag = 0xDD
	TagGeneralSigning   Tag = 0xDF
)

// TagOf returns the tag of an APDU.
func TagOf(b []byte) (Tag, error) {
	if len(b) == 0 {
		return 0, fmt.Errorf("apdu: %w: no bytes", ErrTruncated)
	}
	return Tag(b[0]), nil
}

// CipheredTag returns the tag that an APDU has once it is ciphered under the global key, or under the dedicated
// key. ok is false for an APDU that has no ciphered form of its own: InitiateRequest and InitiateResponse know the
// global key only.
func CipheredTag(plain Tag, dedicated bool) (tag Tag, ok bool) {
	switch plain {
	case TagInitiateRequest, TagInitiateResponse:
		return plain + 0x20, !dedicated
	case TagConfirmedServiceError:
		if dedicated {
			return TagDedConfirmedServiceError, true
		}
		return TagGloConfirmedServiceError, true
	case TagGetRequest, TagSetRequest, TagEventNotification, TagActionRequest,
		TagGetResponse, TagSetResponse, TagActionResponse:
		if dedicated {
			return plain + 0x10, true
		}
		return plain + 0x08, true
	}
	return 0, false
}

// PlainTag undoes CipheredTag. ok is false for every tag that CipheredTag does not give.
func PlainTag(ciphered Tag) (plain Tag, dedicated, ok bool) {
	switch ciphered {
	case TagGloInitiateRequest, TagGloInitiateResponse, TagGloConfirmedServiceError:
		return ciphered - 0x20, false, true
	case TagDedConfirmedServiceError:
		return ciphered - 0x40, true, true
	case TagGloGetRequest, TagGloSetRequest, TagGloEventNotification, TagGloActionRequest,
		TagGloGetResponse, TagGloSetResponse, TagGloActionResponse:
		return ciphered - 0x08, false, true
	case TagDedGetRequest, TagDedSetRequest, TagDedEventNotification, TagDedActionRequest,
		TagDedGetResponse, TagDedSetResponse, TagDedActionResponse:
		return ciphered - 0x10, true, true
	}
	return 0, false, false
}

// String returns the name that the standard gives the APDU.
func (t Tag) String() string {
	if s := t.associationName(); s != "" {
		return s
	}
	if s := t.serviceName(); s != "" {
		return s
	}
	if plain, dedicated, ok := PlainTag(t); ok {
		if dedicated {
			return "ded-" + plain.String()
		}
		return "glo-" + plain.String()
	}
	return fmt.Sprintf("apdu %#02x", byte(t))
}

func (t Tag) associationName() string {
	switch t {
	case TagAARQ:
		return "aarq"
	case TagAARE:
		return "aare"
	case TagRLRQ:
		return "rlrq"
	case TagRLRE:
		return "rlre"
	case TagInitiateRequest:
		return "initiate-request"
	case TagInitiateResponse:
		return "initiate-response"
	case TagConfirmedServiceError:
		return "confirmed-service-error"
	case TagExceptionResponse:
		return "exception-response"
	}
	return ""
}

func (t Tag) serviceName() string {
	switch t {
	case TagGetRequest:
		return "get-request"
	case TagSetRequest:
		return "set-request"
	case TagActionRequest:
		return "action-request"
	case TagGetResponse:
		return "get-response"
	case TagSetResponse:
		return "set-response"
	case TagActionResponse:
		return "action-response"
	case TagEventNotification:
		return "event-notification-request"
	case TagDataNotification:
		return "data-notification"
	}
	return t.generalName()
}

func (t Tag) generalName() string {
	switch t {
	case TagAccessRequest:
		return "access-request"
	case TagAccessResponse:
		return "access-response"
	case TagGeneralGlo:
		return "general-glo-ciphering"
	case TagGeneralDed:
		return "general-ded-ciphering"
	case TagGeneralCiphering:
		return "general-ciphering"
	case TagGeneralSigning:
		return "general-signing"
	case TagGeneralBlockTransfer:
		return "general-block-transfer"
	}
	return ""
}

// expectTag reads the tag of the APDU and refuses another with ErrTag.
func expectTag(r *wire.Reader, want Tag) {
	got, ok := r.Peek()
	if ok && Tag(got) != want {
		wrongTag(r, want, Tag(got))
		return
	}
	r.Uint8()
}

func wrongTag(r *wire.Reader, want, got Tag) {
	r.Fail(fmt.Errorf("%w: want %s, got %s", ErrTag, want, got))
}

// done ends a parser: the first error or trailing bytes, under the APDU's name.
func done(r *wire.Reader, name Tag) error {
	if r.Exact() {
		return nil
	}
	return notDone(r, name)
}

func notDone(r *wire.Reader, name Tag) error { return fmt.Errorf("parse %s: %w", name, r.Done()) }
