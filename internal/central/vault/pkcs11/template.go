//go:build pkcs11

package pkcs11

import p11 "github.com/miekg/pkcs11"

// use is what a key object may do, and nothing else.
type use struct {
	wrap, unwrap, sign, verify, encrypt, decrypt, extract bool
	// trusted: it is wrapped by nothing but a key that the token's security officer has marked as trusted.
	trusted bool
	mechs   []uint
}

// The uses of keys. An extractable key must name a mechanism, as none at all means every one; the one it names is refused
// by the attributes beside it.
var (
	useRootWrap  = use{wrap: true, unwrap: true, mechs: []uint{p11.CKM_AES_KEY_WRAP}}
	useRootMAC   = use{sign: true, verify: true, mechs: []uint{p11.CKM_AES_CMAC}}
	useWrap      = use{wrap: true, mechs: []uint{p11.CKM_AES_KEY_WRAP}}                              // CCC, the KEK of a device
	useUnwrap    = use{unwrap: true, mechs: []uint{p11.CKM_AES_KEY_WRAP}}                            // what came in under a KEK or a transport key
	useSign      = use{sign: true, mechs: []uint{p11.CKM_AES_CMAC}}                                  // the MAC key of a device; the names of a key
	useVerify    = use{verify: true, mechs: []uint{p11.CKM_AES_CMAC}}                                // the MAC key of a device
	useGCM       = use{encrypt: true, decrypt: true, mechs: []uint{p11.CKM_AES_GCM}}                 // CC_IS, CC_LAN
	useMove      = use{extract: true, mechs: []uint{p11.CKM_AES_CMAC}}                               // on its way from one wrapping to another
	useNew       = use{extract: true, sign: true, mechs: []uint{p11.CKM_AES_CMAC}}                   // named, and wrapped
	useTransport = use{wrap: true, unwrap: true, extract: true, mechs: []uint{p11.CKM_AES_KEY_WRAP}} // the AES key of a file that is made
)

// template returns the attributes of a secret key for one use. It is made once for each use: making it costs more than some
// operations with it. CKA_CHECK_VALUE is suppressed: it is the encryption of a block of zeros, the hash key of GCM.
func (u use) template(token bool, more ...*p11.Attribute) []*p11.Attribute {
	out := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
		p11.NewAttribute(p11.CKA_TOKEN, token),
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, u.extract),
		p11.NewAttribute(p11.CKA_WRAP, u.wrap),
		p11.NewAttribute(p11.CKA_UNWRAP, u.unwrap),
		p11.NewAttribute(p11.CKA_SIGN, u.sign),
		p11.NewAttribute(p11.CKA_VERIFY, u.verify),
		p11.NewAttribute(p11.CKA_ENCRYPT, u.encrypt),
		p11.NewAttribute(p11.CKA_DECRYPT, u.decrypt),
		p11.NewAttribute(p11.CKA_DERIVE, false),
		p11.NewAttribute(p11.CKA_CHECK_VALUE, []byte{}),
		p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, ulongs(u.mechs)),
	}
	if token { // SoftHSM refuses it to what is unwrapped
		out = append(out, p11.NewAttribute(p11.CKA_MODIFIABLE, false))
	}
	if u.trusted {
		out = append(out, p11.NewAttribute(p11.CKA_WRAP_WITH_TRUSTED, true))
	}
	return append(out, more...)
}

// generated is the template of a key that the token draws.
func (u use) generated(token bool, more ...*p11.Attribute) []*p11.Attribute {
	return u.template(token, append(more, p11.NewAttribute(p11.CKA_VALUE_LEN, 16))...)
}

// ulongs is a list of mechanisms as this machine's Cryptoki has it.
func ulongs(list []uint) (out []byte) {
	for _, m := range list {
		out = append(out, p11.NewAttribute(0, m).Value...)
	}
	return out
}

// templates are those of the session objects, made once.
type templates struct {
	wrap, unwrap, sign, verify, gcm, move, fresh, transport, moveIn []*p11.Attribute
}

// newTemplates makes them. Where the security officer has marked the root as trusted, a key that is wrapped under the root
// alone can be wrapped by nothing else.
func newTemplates(trusted bool) templates {
	fresh, moveIn := useNew, useNew
	fresh.trusted, moveIn.trusted = trusted, trusted
	return templates{
		wrap: useWrap.template(false), unwrap: useUnwrap.template(false), sign: useSign.template(false), verify: useVerify.template(false),
		gcm: useGCM.template(false), move: useMove.template(false), fresh: fresh.generated(false), transport: useTransport.generated(false),
		moveIn: moveIn.template(false),
	}
}

// The mechanisms.
var (
	mechKeyGen = []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}
	mechRSAGen = []*p11.Mechanism{p11.NewMechanism(p11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)}
	mechWrap   = []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_WRAP, nil)}
	mechCMAC   = []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_CMAC, nil)}
)
