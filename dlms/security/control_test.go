package security_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms/security"
)

func TestEveryControlByteUnderEveryPolicy(t *testing.T) {
	type pair struct {
		p security.Policy
		c security.Control
	}
	accepted := map[pair]bool{
		{security.PolicyNone, 0x00}:                   true,
		{security.PolicyNone, 0x10}:                   true,
		{security.PolicyNone, 0x30}:                   true,
		{security.PolicyAuthenticated, 0x10}:          true,
		{security.PolicyAuthenticated, 0x30}:          true,
		{security.PolicyAuthenticatedEncrypted, 0x30}: true,
	}
	for p := security.PolicyNone; p <= security.PolicyAuthenticatedEncrypted+1; p++ {
		for c := range 256 {
			k := pair{p, security.Control(c)}
			if err := p.Check(k.c); (err == nil) != accepted[k] {
				t.Errorf("%s, control %02X: got %v", p, c, err)
			}
		}
	}
}

func TestRefusalsOfAControlByteSayWhy(t *testing.T) {
	for c, want := range map[security.Control]error{
		0x00: security.ErrPolicy, 0x10: security.ErrPolicy, 0x20: security.ErrEncryptedOnly,
		0x31: security.ErrSuite, 0x32: security.ErrSuite, 0x3F: security.ErrSuite,
		0x70: security.ErrKeySet, 0xB0: security.ErrCompressed, 0xFF: security.ErrCompressed,
	} {
		if err := security.PolicyAuthenticatedEncrypted.Check(c); !errors.Is(err, want) {
			t.Errorf("%02X: want %v, got %v", byte(c), want, err)
		}
	}
}

func TestEncryptedOnlyAndTheBroadcastKeySetAreAcceptedWhereTheyAreNamed(t *testing.T) {
	strict := security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted}
	open, broadcast, both := strict, strict, strict
	open.EncryptedOnly, broadcast.Broadcast = true, true
	both.EncryptedOnly, both.Broadcast = true, true
	for _, c := range []struct {
		a       security.Acceptance
		accepts []security.Control
	}{
		{strict, []security.Control{0x30}},
		{open, []security.Control{0x20, 0x30}},
		{broadcast, []security.Control{0x30, 0x70}},
		{both, []security.Control{0x20, 0x30, 0x60, 0x70}},
	} {
		for b := range 256 {
			ctl := security.Control(b)
			if err := c.a.Check(ctl); (err == nil) != slices.Contains(c.accepts, ctl) {
				t.Errorf("%+v, control %02X: got %v", c.a, b, err)
			}
		}
	}
	if err := strict.Check(0x20); !errors.Is(err, security.ErrPolicy) || !errors.Is(err, security.ErrEncryptedOnly) {
		t.Errorf("encrypted only: got %v", err)
	}
	if err := strict.Check(0x70); !errors.Is(err, security.ErrKeySet) {
		t.Errorf("broadcast: got %v", err)
	}
	for b, want := range map[security.Control]error{
		0x20: security.ErrEncryptedOnly, 0x60: security.ErrEncryptedOnly, 0xB0: security.ErrCompressed,
		0x31: security.ErrSuite, 0x00: security.ErrPolicy, 0x30: nil, 0x10: nil, 0x70: nil,
	} {
		if err := b.Check(); !errors.Is(err, want) {
			t.Errorf("%02X: want %v, got %v", byte(b), want, err)
		}
	}
}

func TestSealAndOpenRefuseEveryControlByteWithoutAuthenticationOrOfAnotherSuite(t *testing.T) {
	c := newCipher(t, ek, ak)
	for b := range 256 {
		ctl := security.Control(b)
		good := ctl == 0x10 || ctl == 0x30 || ctl == 0x50 || ctl == 0x70
		sealed, err := c.Seal(nil, ctl, alice, 1, []byte("text"))
		if (err == nil) != good || good == (sealed == nil) {
			t.Errorf("seal with %02X: got %X, %v", b, sealed, err)
		}
		opened, err := c.Open(nil, ctl, alice, 1, make([]byte, 40))
		if opened != nil || errors.Is(err, security.ErrTag) != good {
			t.Errorf("open with %02X: got %X, %v", b, opened, err)
		}
	}
}

func TestControlAndPolicyReadWell(t *testing.T) {
	for want, got := range map[string]string{
		"authenticated+encrypted, suite 0":        security.Control(0x30).String(),
		"unprotected, suite 1":                    security.Control(0x01).String(),
		"encrypted+broadcast+compressed, suite 2": security.Control(0xE2).String(),
		"authenticated+encrypted":                 security.PolicyAuthenticatedEncrypted.String(),
		"authenticated":                           security.PolicyAuthenticated.String(),
		"none":                                    security.PolicyNone.String(),
		"policy 9":                                security.Policy(9).String(),
	} {
		if got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
	if err := security.Suite1.Check(); !errors.Is(err, security.ErrSuite) {
		t.Errorf("suite 1: got %v", err)
	}
	if err := security.Suite0.Check(); err != nil {
		t.Errorf("suite 0: got %v", err)
	}
}
