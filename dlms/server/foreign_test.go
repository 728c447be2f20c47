package server_test

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// Our client and our server, by every mechanism, with and without ciphering, in general block transfer and without.
func TestOurClientOpensByEveryMechanismAndReadsInEveryKindOfBlocks(t *testing.T) {
	secret, err := key.NewSecret([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mechanism server.Mechanism
		policy    security.Policy
	}{
		{server.MechanismLLS, security.PolicyNone},
		{server.MechanismLLS, security.PolicyAuthenticated},
		{server.MechanismLLS, security.PolicyAuthenticatedEncrypted},
		{server.MechanismGMAC, security.PolicyAuthenticated},
		{server.MechanismGMAC, security.PolicyAuthenticatedEncrypted},
		{server.MechanismSHA256, security.PolicyNone},
		{server.MechanismSHA256, security.PolicyAuthenticated},
		{server.MechanismSHA256, security.PolicyAuthenticatedEncrypted},
	} {
		for _, general := range []bool{false, true} {
			b, _ := withMechanism(t, c.mechanism, c.policy, func(m *server.Client) {
				m.Conformance = client.FullConformance
				m.MaxPDU = 160
			})
			cfg := b.clientConfig(dlms.SystemTitle{'T', 'S', 'T', 0, 0, 0, 2, 1}, lanKey())
			cfg.Strict, cfg.Mechanism, cfg.Policy, cfg.MaxPDU = false, apdu.Mechanism(c.mechanism), c.policy, 150
			cfg.Conformance = client.FullConformance
			if !general {
				cfg.Conformance &^= apdu.ConformanceGeneralBlockTransfer
			}
			if c.mechanism != server.MechanismGMAC {
				cfg.Secret = secret
			}
			if c.policy == security.PolicyNone {
				cfg.Global, cfg.Dedicated = security.LongTerm{}, false
			}
			a := b.dial(t, local, sapBench, cfg)
			ctx := t.Context()
			d, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Attribute: 2})
			if err != nil || d.Len() != 48 {
				t.Errorf("%+v, general %t: curve: %d rows, %v", c, general, d.Len(), err)
			}
			note := bytes.Repeat([]byte("note "), 100)
			if err := a.Set(ctx, noteRef().Ref, dlms.OctetString(note)); err != nil || !bytes.Equal(b.dev.note, note) {
				t.Errorf("%+v, general %t: set: %v", c, general, err)
			}
			d, err = a.Action(ctx, echoMethod(1), dlms.OctetString(note))
			if got, _ := d.OctetString(); err != nil || !bytes.Equal(got, note) {
				t.Errorf("%+v, general %t: action: %d bytes, %v", c, general, len(got), err)
			}
			if err := a.Release(ctx); err != nil {
				t.Errorf("%+v, general %t: release: %v", c, general, err)
			}
		}
	}
}
