//go:build pkcs11

package pkcs11

import (
	"errors"
	"testing"

	p11 "github.com/miekg/pkcs11"
)

// attribute reads one as it is in the token.
func (s *session) attribute(t *testing.T, o p11.ObjectHandle, a uint) []byte {
	t.Helper()
	got, err := s.t.ck.GetAttributeValue(s.h, o, []*p11.Attribute{p11.NewAttribute(a, nil)})
	must(t, err)
	return got[0].Value
}

// TestLaw1NoKeyObjectShowsItself looks at every kind of key object as the token has it: no value, no check value (it is the
// encryption of zeros, the hash key of GCM), nothing allowed but the one thing it is for.
func TestLaw1NoKeyObjectShowsItself(t *testing.T) {
	b := newBench(t)
	must(t, b.v.do("look", func(s *session) error {
		root, err := s.term(1)
		if err != nil {
			return err
		}
		for _, o := range []p11.ObjectHandle{root.wrap, root.mac} {
			if !s.flag(o, p11.CKA_NEVER_EXTRACTABLE) || !s.flag(o, p11.CKA_ALWAYS_SENSITIVE) || !s.flag(o, p11.CKA_LOCAL) || s.flag(o, p11.CKA_MODIFIABLE) {
				t.Error("the root can be got out of the token, or changed")
			}
		}
		objects := map[string]p11.ObjectHandle{"root wrap": root.wrap, "root mac": root.mac}
		for name, as := range map[string][]*p11.Attribute{
			"ccc": b.v.tmpl.wrap, "unwrap": b.v.tmpl.unwrap, "sign": b.v.tmpl.sign, "verify": b.v.tmpl.verify, "gcm": b.v.tmpl.gcm,
			"move": b.v.tmpl.move, "move in": b.v.tmpl.moveIn,
		} {
			if objects[name], err = s.unwrap(root.wrap, b.row.Sealed, as); err != nil {
				return err
			}
		}
		if objects["fresh"], err = b.v.ck.GenerateKey(s.h, mechKeyGen, b.v.tmpl.fresh); err != nil {
			return err
		}
		s.made = append(s.made, objects["fresh"])
		for name, o := range objects {
			s.shut(t, name, o)
		}
		return nil
	}))
}

func (s *session) shut(t *testing.T, name string, o p11.ObjectHandle) {
	t.Helper()
	if !s.flag(o, p11.CKA_SENSITIVE) || !s.flag(o, p11.CKA_PRIVATE) || s.flag(o, p11.CKA_DERIVE) {
		t.Errorf("%s: not sensitive, not private, or it derives", name)
	}
	if _, err := s.t.ck.GetAttributeValue(s.h, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)}); !is(err, p11.CKR_ATTRIBUTE_SENSITIVE) {
		t.Errorf("%s: its value: %v", name, err)
	}
	if v := s.attribute(t, o, p11.CKA_CHECK_VALUE); len(v) != 0 {
		t.Errorf("%s: it has a check value", name)
	}
	if v := s.attribute(t, o, p11.CKA_ALLOWED_MECHANISMS); len(v) != len(ulongs([]uint{0})) {
		t.Errorf("%s: mechanisms %x", name, v)
	}
	extractable := map[string]bool{"move": true, "move in": true, "fresh": true}
	if s.flag(o, p11.CKA_EXTRACTABLE) != extractable[name] {
		t.Errorf("%s: extractable %v", name, !extractable[name])
	}
	for _, mech := range []uint{p11.CKM_AES_ECB, p11.CKM_AES_CBC, p11.CKM_AES_CTR} {
		err := s.t.ck.EncryptInit(s.h, []*p11.Mechanism{p11.NewMechanism(mech, make([]byte, 16))}, o)
		var code p11.Error
		if !errors.As(err, &code) {
			t.Errorf("%s: encrypts by mechanism %x", name, mech)
		}
	}
}
