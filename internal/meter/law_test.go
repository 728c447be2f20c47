package meter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
)

// recorder keeps all randomness that was drawn: session keys are among it.
type recorder struct {
	io.Reader
	drawn [][]byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.drawn = append(r.drawn, bytes.Clone(b[:n]))
	return n, err
}

func TestLaw2NoReadOfAnyAttributeInAnyAssociationShowsAKey(t *testing.T) {
	for profile, clients := range map[string][]who{
		ProfileLinky:    {readWrite, terminals},
		ProfileHardened: {readWrite, central, terminals},
	} {
		r := newRig(t, profile)
		drawn := &recorder{Reader: r.rand}
		r.rand = drawn
		var open []*client.Association
		for _, w := range clients {
			open = append(open, r.open(w))
		}
		open = append(open, must(client.Open(context.Background(),
			&conn{r: r, link: LinkLAN, sap: dlms.SAPPublic, server: role.SAPServer}, client.Config{})))

		secrets := drawn.drawn
		for _, k := range r.birth.Row.Keys() {
			secrets = append(secrets, key.Reveal(k.Key))
		}
		read, shown := 0, 0
		for _, a := range open {
			for _, o := range r.kind.profile.Objects {
				for attribute := int8(-1); attribute < 20; attribute++ {
					read++
					d, err := a.Get(context.Background(), ref(o, attribute))
					if err != nil {
						var denied dlms.DataAccessResult
						if !errors.As(err, &denied) {
							t.Fatalf("%d/%s/%d: %v", o.Class, o.Instance, attribute, err)
						}
						continue
					}
					shown++
					wantNoSecret(t, must(d.AppendBinary(nil)), secrets)
				}
			}
		}
		for _, b := range r.wire {
			wantNoSecret(t, b, secrets)
		}
		if len(secrets) < 4+len(clients) || shown < 100 || read <= 2*shown {
			t.Errorf("%s: %d secrets, %d reads, %d shown: that is no search", profile, len(secrets), read, shown)
		}
	}
}

// wantNoSecret looks for 8 bytes in a row of any secret.
func wantNoSecret(t *testing.T, in []byte, secrets [][]byte) {
	t.Helper()
	for _, s := range secrets {
		for i := 0; i+8 <= len(s); i++ {
			if bytes.Contains(in, s[i:i+8]) {
				t.Fatalf("a part of a secret of %d bytes is shown in %d bytes", len(s), len(in))
			}
		}
	}
}

func TestLaw2NobodyReadsTheSecretOfAnAssociation(t *testing.T) {
	r := newRig(t, ProfileHardened)
	_, err := r.open(central).Get(context.Background(), ref(associationObject(), cosem.AttributeSecret))
	wantAccess(t, "secret", err, dlms.DataAccessReadWriteDenied)
}

// glo seals a get-request of the clock under a long-term key, as if global ciphering were allowed.
func (r *rig) glo(w who, tag apdu.Tag) []byte {
	lt := r.longTerm(r.keys[w.role], w.title)
	plain := must(apdu.GetRequest{
		Kind: apdu.GetRequestNormal, ID: apdu.NewInvokeID(1, true, false),
		Attribute: apdu.Attribute{Ref: ref(clockObject(), 2)},
	}.AppendBinary(nil))
	ic := must(lt.Send.Next())
	content := must(lt.Cipher.Seal(nil, security.AuthenticatedEncrypted, w.title, ic, plain))
	c := apdu.Ciphered{Tag: tag, Control: byte(security.AuthenticatedEncrypted), Counter: ic, Content: content}
	if tag == apdu.TagGeneralGlo {
		return must(apdu.GeneralCiphered{Title: w.title, Ciphered: c}.AppendBinary(nil))
	}
	return must(c.AppendBinary(nil))
}

// hand gives the meter one APDU.
func (r *rig) hand(w who, b []byte) []byte {
	return r.meter.Server().Handle(context.Background(), w.link,
		link.Request{Client: w.sap, Server: role.SAPServer, APDU: b})
}

func TestLaw3ALongTermKeyCarriesNoTrafficAndTheSessionGoesOn(t *testing.T) {
	for _, profile := range []string{ProfileLinky, ProfileHardened} {
		r := newRig(t, profile)
		a := r.open(readWrite)
		for _, tag := range []apdu.Tag{apdu.TagGloGetRequest, apdu.TagGeneralGlo} {
			got := r.hand(readWrite, r.glo(readWrite, tag))
			if len(got) == 0 || apdu.Tag(got[0]) != apdu.TagExceptionResponse {
				t.Errorf("%s: %s under CC_LAN: want an exception, got %X", profile, tag, got)
			}
		}
		r.get(a, clockObject(), 2)
	}
}

func TestLaw3AnAssociationWithoutASessionKeyIsRefused(t *testing.T) {
	r := newRig(t, ProfileHardened)
	cfg := r.config(readWrite)
	cfg.Dedicated, cfg.Strict = false, false
	_, err := client.Open(context.Background(), &conn{r: r, link: LinkLAN, sap: role.SAPReadWrite, server: role.SAPServer}, cfg)
	var reject *client.RejectError
	if !errors.As(err, &reject) {
		t.Fatalf("want a rejection, got %v", err)
	}
}

func TestLaw3TheKeyOfOneInterfaceOpensNoOther(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for _, w := range []who{
		{role.SAPReadWrite, LinkLAN, role.CCLOCALE, titleDC},
		{role.SAPTSP, LinkLocal, role.CCLAN, titleTSP},
		{role.SAPIS, LinkLAN, role.CCLAN, titleDC},
		{role.SAPTSP, LinkLAN, role.CCLOCALE, titleTSP},
		{role.SAPReadWrite, LinkLocal, role.CCLAN, titleDC},
	} {
		if _, err := r.tryOpen(w); err == nil {
			t.Errorf("client %d on %s was let in with %s", w.sap, w.link, w.role)
		}
	}
}

func TestLaw4CountersGoOnOverEveryRestart(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for range 20 { // the oracle fails the test at the first repeated nonce
		for _, w := range []who{readWrite, central, terminals} {
			a := r.open(w)
			r.get(a, clockObject(), 2)
		}
		r.restart()
	}
}

func TestLaw5AKeyChangeIsProvenByAnAssociationAndByTheLog(t *testing.T) {
	for _, profile := range []string{ProfileLinky, ProfileHardened} {
		r := newRig(t, profile)
		for ro, code := range map[role.Role]Code{role.CCLAN: codeLANChanged, role.CCLOCALE: codeLocaleChanged, role.CCIS: codeISChanged} {
			if _, has := r.keys[ro]; !has {
				continue
			}
			old := r.keys[ro]
			k, blob := r.wrapped()
			if err := r.transfer(ro, 0, blob); err != nil {
				t.Fatalf("%s: transfer of %s: %v", profile, ro, err)
			}
			w := map[role.Role]who{role.CCLAN: readWrite, role.CCLOCALE: terminals, role.CCIS: central}[ro]
			if _, err := r.tryOpen(w); err == nil {
				t.Errorf("%s: the old %s still opens", profile, ro)
			}
			r.keys[ro] = k
			setup, _ := ro.Setup()
			shown := r.get(r.open(w), checkObject(setup[4]), 2)
			check := k.CheckValue()
			if generation, err := shown.At(1).Uint(); err != nil || generation != 2 || !bytes.Equal(shown.At(0).Bytes(), check[:]) {
				t.Errorf("%s: %s: want check value %s of generation 2, got %s", profile, ro, check, shown)
			}
			r.restart()
			r.open(w)
			if got := r.codes(logMain); len(got) == 0 || got[len(got)-1] != code {
				t.Errorf("%s: %s: want code %d in the main log, got %v", profile, ro, code, got)
			}
			if old.Equal(k) {
				t.Fatal("the key did not change")
			}
		}
	}
}

func TestLaw6EveryKeyThatIsNotNewOrNotForThisSetupIsRefused(t *testing.T) {
	for _, profile := range []string{ProfileLinky, ProfileHardened} {
		r := newRig(t, profile)
		second, blob := r.wrapped()
		if err := r.transfer(role.CCLAN, 0, blob); err != nil {
			t.Fatal(err)
		}
		r.keys[role.CCLAN] = second
		first := must(r.birth.Row.CCC.Wrap(r.birth.Row.LAN))
		own := must(r.birth.Row.CCC.Wrap(r.birth.Row.CCC))
		stranger := must(key.GenerateMaster(r.rand))
		k, fresh := r.wrapped()
		foreign := must(stranger.Wrap(k))
		weak := must(r.birth.Row.CCC.Wrap(must(key.NewUnicast(bytes.Repeat([]byte{5}, key.Size)))))
		damaged := bytes.Clone(fresh)
		damaged[7] ^= 1
		for what, try := range map[string]struct {
			role role.Role
			id   uint8
			blob []byte
			want dlms.ActionResult
		}{
			"the key in force":              {role.CCLAN, 0, blob, dlms.ActionOtherReason},
			"the key before it":             {role.CCLAN, 0, first, dlms.ActionOtherReason},
			"the LAN key on the local port": {role.CCLOCALE, 0, blob, dlms.ActionOtherReason},
			"the key before, sideways":      {role.CCLOCALE, 0, first, dlms.ActionOtherReason},
			"CCC as an association key":     {role.CCLAN, 0, own, dlms.ActionOtherReason},
			"a key under another master":    {role.CCLAN, 0, foreign, dlms.ActionOtherReason},
			"a weak key":                    {role.CCLAN, 0, weak, dlms.ActionOtherReason},
			"a damaged blob":                {role.CCLAN, 0, damaged, dlms.ActionOtherReason},
			"the broadcast key id":          {role.CCLAN, 1, fresh, dlms.ActionScopeViolated},
			"the authentication key id":     {role.CCLAN, 2, fresh, dlms.ActionScopeViolated},
			"the master key id":             {role.CCLAN, 3, fresh, dlms.ActionScopeViolated},
			"another key id":                {role.CCLAN, 200, fresh, dlms.ActionScopeViolated},
		} {
			wantAction(t, profile+": "+what, r.transfer(try.role, try.id, try.blob), try.want)
			check, generation := r.meter.Held(role.CCLAN)
			if generation != 2 || check != second.CheckValue() {
				t.Fatalf("%s: %s: CC_LAN is now %s, generation %d", profile, what, check, generation)
			}
			if _, generation := r.meter.Held(role.CCLOCALE); generation != 1 {
				t.Fatalf("%s: %s: CC_LOCALE was changed", profile, what)
			}
		}
		r.restart()
		wantAction(t, profile+": after a restart", r.transfer(role.CCLOCALE, 0, first), dlms.ActionOtherReason)
		failures := r.codes(logCommunication)
		if !contains(failures, codeLANFailed) || !contains(failures, codeLocaleFailed) {
			t.Errorf("%s: want codes 29 and 30 in the communication log, got %v", profile, failures)
		}
	}
}

func contains(codes []Code, want Code) bool {
	for _, c := range codes {
		if c == want {
			return true
		}
	}
	return false
}

func TestLaw6OneCallTakesOneKey(t *testing.T) {
	r := newRig(t, ProfileHardened)
	_, one := r.wrapped()
	_, two := r.wrapped()
	both := dlms.Array(cosem.KeyTransfer(0, one).At(0), cosem.KeyTransfer(0, two).At(0))
	err := invoke(r.open(central), setupOf(role.CCLAN), cosem.MethodKeyTransfer, both)
	wantAction(t, "two keys", err, dlms.ActionScopeViolated)
	if _, generation := r.meter.Held(role.CCLAN); generation != 1 {
		t.Errorf("want generation 1, got %d", generation)
	}
}

func TestLaw6TheAnswerComesUnderTheOldSessionAndThenEveryAssociationOfTheKeyIsClosed(t *testing.T) {
	r := newRig(t, ProfileLinky)
	local := r.open(terminals)
	reader, sender := r.open(readWrite), caster
	broadcast := r.openBroadcast(sender)
	_, blob := r.wrapped()
	if err := invoke(reader, setupOf(role.CCLAN), cosem.MethodKeyTransfer, cosem.KeyTransfer(0, blob)); err != nil {
		t.Fatalf("no answer under the old session: %v", err)
	}
	if _, err := reader.Get(context.Background(), ref(clockObject(), 2)); err == nil {
		t.Error("the association of the replaced key is still served")
	}
	before := r.meter.state.clock.last()
	r.cast(must(broadcast.AppendAction(nil, method(clockObject(), 6), dlms.Int16(3))))
	if r.meter.state.clock.last() != before {
		t.Error("the broadcast key outlived the key that brought it")
	}
	r.get(local, clockObject(), 2)
}

func TestLaw6AFullStoreOfFingerprintsRefusesAndAlarmsAndForgetsNothing(t *testing.T) {
	r := newRig(t, ProfileHardened)
	r.meter.mu.Lock()
	for i := len(r.meter.state.prints); i < maxPrints-1; i++ {
		w := new(frameWriter)
		w.print(key.Fingerprint{byte(i), byte(i >> 8), 0xAA})
		if err := r.meter.commitLocked(w, true); err != nil {
			t.Fatal(err)
		}
	}
	r.meter.mu.Unlock()
	k, blob := r.wrapped()
	if err := r.transfer(role.CCLAN, 0, blob); err != nil {
		t.Fatalf("the last key that fits: %v", err)
	}
	r.keys[role.CCLAN] = k
	r.restart()
	_, blob = r.wrapped()
	wantAction(t, "one key too many", r.transfer(role.CCLAN, 0, blob), dlms.ActionOtherReason)
	if !contains(r.codes(logMain), codePrintsFull) {
		t.Errorf("want the alarm in the main log, got %v", r.codes(logMain))
	}
	r.open(readWrite)
	first := must(r.birth.Row.CCC.Wrap(r.birth.Row.LAN))
	wantAction(t, "the first key", r.transfer(role.CCLAN, 0, first), dlms.ActionOtherReason)
}

func TestLaw9WhatDoesNotVerifyMovesNoFloorAndDisturbsNoAssociation(t *testing.T) {
	r := newRig(t, ProfileHardened)
	a := r.open(readWrite)
	aarq := bytes.Clone(r.requests[0])
	floors := func() [roles]heldKey { r.meter.mu.Lock(); defer r.meter.mu.Unlock(); return r.meter.state.keys }
	before := floors()
	for bit := range 8 * len(aarq) {
		altered := bytes.Clone(aarq)
		altered[bit/8] ^= 1 << (bit % 8)
		r.hand(readWrite, altered)
	}
	r.hand(readWrite, aarq) // as it was: a replay
	wrong := must(key.GenerateUnicast(r.rand))
	honest := r.keys[role.CCLAN]
	r.keys[role.CCLAN] = wrong
	if _, err := r.tryOpen(readWrite); err == nil {
		t.Error("a stranger was let in")
	}
	r.keys[role.CCLAN] = honest
	for ro, k := range floors() {
		if len(k.floors) != len(before[ro].floors) || len(k.floors) > 0 && k.floors[0] != before[ro].floors[0] {
			t.Errorf("%s: the floors went from %v to %v", role.Role(ro), before[ro].floors, k.floors)
		}
	}
	r.get(a, clockObject(), 2)
}
