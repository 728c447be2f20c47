//go:build pkcs11

package pkcs11

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/internal/central/vault"
)

// cryptoki is what this package calls of a PKCS#11 module.
type cryptoki interface {
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (p11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*p11.Mechanism, error)
	GetMechanismInfo(slot uint, m []*p11.Mechanism) (p11.MechanismInfo, error)

	OpenSession(slot, flags uint) (p11.SessionHandle, error)
	CloseSession(s p11.SessionHandle) error
	Login(s p11.SessionHandle, user uint, pin string) error

	FindObjectsInit(s p11.SessionHandle, template []*p11.Attribute) error
	FindObjects(s p11.SessionHandle, most int) ([]p11.ObjectHandle, bool, error)
	FindObjectsFinal(s p11.SessionHandle) error
	GetAttributeValue(s p11.SessionHandle, o p11.ObjectHandle, a []*p11.Attribute) ([]*p11.Attribute, error)
	CreateObject(s p11.SessionHandle, template []*p11.Attribute) (p11.ObjectHandle, error)
	DestroyObject(s p11.SessionHandle, o p11.ObjectHandle) error

	GenerateKey(s p11.SessionHandle, m []*p11.Mechanism, template []*p11.Attribute) (p11.ObjectHandle, error)
	GenerateKeyPair(s p11.SessionHandle, m []*p11.Mechanism, public, private []*p11.Attribute) (p11.ObjectHandle, p11.ObjectHandle, error)
	WrapKey(s p11.SessionHandle, m []*p11.Mechanism, under, k p11.ObjectHandle) ([]byte, error)
	UnwrapKey(s p11.SessionHandle, m []*p11.Mechanism, under p11.ObjectHandle, blob []byte, template []*p11.Attribute) (p11.ObjectHandle, error)
	SignInit(s p11.SessionHandle, m []*p11.Mechanism, k p11.ObjectHandle) error
	Sign(s p11.SessionHandle, text []byte) ([]byte, error)
	VerifyInit(s p11.SessionHandle, m []*p11.Mechanism, k p11.ObjectHandle) error
	Verify(s p11.SessionHandle, text, sum []byte) error
	EncryptInit(s p11.SessionHandle, m []*p11.Mechanism, k p11.ObjectHandle) error
	Encrypt(s p11.SessionHandle, text []byte) ([]byte, error)
	DecryptInit(s p11.SessionHandle, m []*p11.Mechanism, k p11.ObjectHandle) error
	Decrypt(s p11.SessionHandle, text []byte) ([]byte, error)
}

// load brings a module into the process. Cryptoki is initialized once in a process, whoever does it, and is not finalized:
// another vault of this process may be at work in it. It ends with the process.
func load(path string) (cryptoki, error) {
	ctx := p11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("%w: %s is no PKCS#11 module that this machine can load", vault.ErrToken, path)
	}
	err := ctx.Initialize()
	if err != nil && !is(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return nil, fmt.Errorf("%w: %s: C_Initialize: %w", vault.ErrToken, path, err)
	}
	return ctx, nil
}

// is reports whether err is one of these return values of Cryptoki.
func is(err error, codes ...p11.Error) bool {
	var got p11.Error
	if !errors.As(err, &got) {
		return false
	}
	for _, c := range codes {
		if got == c {
			return true
		}
	}
	return false
}

// gone reports that session, login or token are no more: everything has to be begun anew.
func gone(err error) bool {
	return is(err, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_SESSION_CLOSED, p11.CKR_USER_NOT_LOGGED_IN, p11.CKR_DEVICE_REMOVED,
		p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_TOKEN_NOT_RECOGNIZED, p11.CKR_SLOT_ID_INVALID, p11.CKR_CRYPTOKI_NOT_INITIALIZED,
		p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_KEY_HANDLE_INVALID, p11.CKR_WRAPPING_KEY_HANDLE_INVALID,
		p11.CKR_UNWRAPPING_KEY_HANDLE_INVALID)
}

// vague reports an error that may be the token's or that of what it was given: SoftHSM has one answer to a blob that does
// not unwrap, a tag that does not verify and a token whose files are gone.
func vague(err error) bool {
	return is(err, p11.CKR_GENERAL_ERROR, p11.CKR_DEVICE_ERROR, p11.CKR_FUNCTION_FAILED)
}

// full reports that the token has no room for one more object or session.
func full(err error) bool {
	return is(err, p11.CKR_DEVICE_MEMORY, p11.CKR_HOST_MEMORY, p11.CKR_SESSION_COUNT)
}

// refusesPIN reports a login that must not be tried again with the same PIN.
func refusesPIN(err error) bool {
	return is(err, p11.CKR_PIN_INCORRECT, p11.CKR_PIN_INVALID, p11.CKR_PIN_LEN_RANGE, p11.CKR_PIN_EXPIRED, p11.CKR_PIN_LOCKED,
		p11.CKR_USER_PIN_NOT_INITIALIZED)
}

// told says what is wrong with a token, for people.
func told(what string, err error) error {
	switch {
	case is(err, p11.CKR_PIN_LOCKED):
		return fmt.Errorf("%w: %s: its PIN is locked; its security officer unlocks it, and this program is started anew: %w", vault.ErrToken, what, err)
	case refusesPIN(err):
		return fmt.Errorf("%w: %s: it refuses the PIN, which is not tried again; correct it and start this program anew: %w", vault.ErrToken, what, err)
	case full(err):
		return fmt.Errorf("%w: %s: it has no room for another object or session: %w", vault.ErrToken, what, err)
	case gone(err):
		return fmt.Errorf("%w: %s: it was removed, locked or logged out: %w", vault.ErrToken, what, err)
	}
	return fmt.Errorf("%w: %s: %w", vault.ErrToken, what, err)
}
