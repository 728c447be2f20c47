package cosem

import (
	"bytes"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Key ids of key_transfer (BB 4.4.7).
const (
	KeyGlobalUnicast   uint8 = 0
	KeyGlobalBroadcast uint8 = 1
	KeyAuthentication  uint8 = 2
	KeyMaster          uint8 = 3
)

// MethodKeyTransfer is key_transfer of class 64 (BB 4.4.7).
const MethodKeyTransfer int8 = 2

// maxWrappedKey bounds a wrapped key: 32 bytes of a suite 2 key and 8 of check (RFC 3394).
const maxWrappedKey = 40

// SecuritySetupConfig describes a Security setup.
type SecuritySetupConfig struct {
	// Instance is the logical name, 0.0.43.0.e.255.
	Instance dlms.OBIS
	// Policy is security_policy as the enum of version 0: 0 nothing, 1 authenticated, 2 encrypted, 3 both.
	Policy uint8
	// Suite is security_suite.
	Suite uint8
	// ClientTitle and ServerTitle read the two system titles; nil ClientTitle reads the peer of the association.
	ClientTitle func(env *Env) (dlms.SystemTitle, error)
	ServerTitle func(env *Env) (dlms.SystemTitle, error)
	// PolicyOf reads the policy of a device whose policy can be strengthened; nil is Policy.
	PolicyOf func(env *Env) (uint8, error)
	// Activate strengthens the policy (method security_activate); nil refuses. It gets a policy that asks for
	// everything the old one asked for: a policy is never weakened (BB 4.4.7). It needs PolicyOf.
	Activate func(env *Env, policy uint8) error
	// KeyTransfer takes one wrapped key. It was checked in form only: it is for the device to refuse the key id and
	// the setup, to unwrap under its master key, to refuse a key it ever held and to make the change durable before
	// it returns. wrapped is its own copy. nil refuses.
	KeyTransfer func(env *Env, setup dlms.OBIS, keyID uint8, wrapped []byte) error
}

type securitySetup struct {
	base
	cfg SecuritySetupConfig
}

// NewSecuritySetup returns an object of class Security setup (BB 4.4.7, class 64 version 0). It has no attribute
// that holds a key.
func NewSecuritySetup(cfg SecuritySetupConfig) Object {
	return &securitySetup{base{ID{Class: dlms.ClassSecuritySetup, Instance: cfg.Instance}}, cfg}
}

func (o *securitySetup) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		p, err := o.policy(env)
		return dlms.Enum(p), err
	case 3:
		return dlms.Enum(o.cfg.Suite), nil
	case 4:
		if o.cfg.ClientTitle == nil {
			return titleData(env.Peer, nil)
		}
		return titleData(o.cfg.ClientTitle(env))
	case 5:
		if o.cfg.ServerTitle == nil {
			return dlms.Null(), dlms.DataAccessReadWriteDenied
		}
		return titleData(o.cfg.ServerTitle(env))
	}
	return undefined()
}

func titleData(t dlms.SystemTitle, err error) (dlms.Data, error) {
	if err != nil {
		return dlms.Null(), err
	}
	if t.IsZero() {
		return dlms.OctetString(nil), nil
	}
	return dlms.OctetString(t[:]), nil
}

func (o *securitySetup) policy(env *Env) (uint8, error) {
	if o.cfg.PolicyOf == nil {
		return o.cfg.Policy, nil
	}
	return o.cfg.PolicyOf(env)
}

// Invoke serves security_activate (1) and key_transfer (2). The standard takes a list of keys; a list of two is not
// atomic, so one is all that is taken.
func (o *securitySetup) Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	if method == 1 && o.cfg.Activate != nil && o.cfg.PolicyOf != nil {
		return dlms.Null(), o.activate(env, parameters)
	}
	if method != MethodKeyTransfer || o.cfg.KeyTransfer == nil {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	id, wrapped, err := ParseKeyTransfer(parameters)
	if err != nil {
		return dlms.Null(), err
	}
	return dlms.Null(), o.cfg.KeyTransfer(env, o.id.Instance, id, bytes.Clone(wrapped))
}

func (o *securitySetup) activate(env *Env, parameters dlms.Data) error {
	p, err := parseEnum[uint8](parameters)
	if err != nil {
		return dlms.ActionTypeUnmatched
	}
	old, err := o.policy(env)
	if err != nil {
		return err
	}
	if p > 3 || p&old != old {
		return dlms.ActionScopeViolated
	}
	return o.cfg.Activate(env, p)
}

// ParseKeyTransfer takes apart the parameter of key_transfer: an array of exactly one structure of key id (enum)
// and wrapped key (octet-string of 16 to 40 bytes in multiples of 8). Anything else is refused with an action
// result.
func ParseKeyTransfer(d dlms.Data) (id uint8, wrapped []byte, err error) {
	if d.Tag() != dlms.TagArray {
		return 0, nil, dlms.ActionTypeUnmatched
	}
	if d.Len() != 1 {
		return 0, nil, dlms.ActionScopeViolated
	}
	e := d.At(0)
	if e.Tag() != dlms.TagStructure || e.Len() != 2 ||
		e.At(0).Tag() != dlms.TagEnum || e.At(1).Tag() != dlms.TagOctetString {
		return 0, nil, dlms.ActionTypeUnmatched
	}
	n, err := e.At(0).Uint()
	if err != nil {
		return 0, nil, dlms.ActionTypeUnmatched
	}
	wrapped = e.At(1).Bytes()
	if len(wrapped) < 16 || len(wrapped) > maxWrappedKey || len(wrapped)%8 != 0 {
		return 0, nil, dlms.ActionScopeViolated
	}
	return uint8(n), wrapped, nil
}

// KeyTransfer writes the parameter of key_transfer for one key.
func KeyTransfer(id uint8, wrapped []byte) dlms.Data {
	return dlms.Array(dlms.Structure(dlms.Enum(id), dlms.OctetString(wrapped)))
}
