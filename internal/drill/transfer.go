package drill

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
)

// attempt is one call of key_transfer that a meter has to refuse.
type attempt struct {
	what  string
	setup dlms.OBIS
	arg   dlms.Data
	count *int
}

// transfers presents wrapped keys that must not come into force, in an association with the right to transfer. The
// check values before and after prove that no key changed, whatever the answers say.
func (a *attacker) transfers(ctx context.Context) error {
	attempts, err := a.attempts()
	if err != nil {
		return err
	}
	e, err := a.enter(ctx, a.sender())
	if err != nil {
		return err
	}
	defer func() { e.leave(ctx) }()
	before, err := a.checkValues(ctx, e)
	if err != nil {
		return err
	}
	for _, t := range attempts {
		if e, err = a.try(ctx, e, t); err != nil {
			return err
		}
	}
	after, err := a.checkValues(ctx, e)
	if err != nil {
		return err
	}
	for r, v := range before {
		if !v.Equal(after[r]) {
			a.accepted("a transfer changed %s: it was %s and is %s", r, v, after[r])
		}
	}
	return nil
}

// try makes one call. An answer that is no result of the method, or none, may be due to an honest end that took the
// place of the association: then it is made once more in a new one. After that it counts as a refusal, and whether it
// was one is for the check values to tell.
func (a *attacker) try(ctx context.Context, e *entry, t attempt) (*entry, error) {
	for again := false; ; again = true {
		_, err := e.Action(ctx, dlms.MethodRef{
			Class: dlms.ClassSecuritySetup, Instance: t.setup, Method: cosem.MethodKeyTransfer,
		}, t.arg)
		told := err == nil || errors.As(err, new(dlms.ActionResult))
		switch {
		case err == nil:
			a.accepted("%s", t.what)
		case told || again:
			*t.count++
		}
		if told {
			return e, nil
		}
		if e, err = a.again(ctx, e); err != nil || again {
			return e, err
		}
	}
}

// attempts lists the calls: recorded wrapped keys again, the maker's first keys wrapped anew, recorded ones sideways,
// and fresh keys under other key ids or two at a time. A fresh key alone with key id 0 is the one call that a meter
// has to take, and is not made.
func (a *attacker) attempts() ([]attempt, error) {
	var out []attempt
	replay, sideways := &a.result.ReplayedKey, &a.result.KeySideways
	one := func(count *int, setup dlms.OBIS, id uint8, blob []byte, format string, args ...any) {
		out = append(out, attempt{fmt.Sprintf(format, args...), setup, cosem.KeyTransfer(id, blob), count})
	}
	setups := a.roles()
	for _, b := range spread(a.blobs, maxBlobs) {
		from, _ := roleOf(b.Setup)
		for _, r := range setups {
			s, _ := r.Setup()
			if r == from {
				one(replay, s, cosem.KeyGlobalUnicast, b.Wrapped, "a recorded wrapped %s again", from)
			} else {
				one(sideways, s, cosem.KeyGlobalUnicast, b.Wrapped, "a recorded wrapped %s as %s", from, r)
			}
		}
	}
	for _, r := range setups {
		s, _ := r.Setup()
		first, err := a.Row.CCC.Wrap(a.keys[r][0])
		if err != nil {
			return nil, fmt.Errorf("drill: wrap: %w", err)
		}
		one(replay, s, cosem.KeyGlobalUnicast, first, "the maker's first %s, wrapped anew", r)
		for _, id := range []uint8{cosem.KeyGlobalBroadcast, cosem.KeyAuthentication, cosem.KeyMaster} {
			blob, err := a.fresh()
			if err != nil {
				return nil, err
			}
			one(sideways, s, id, blob, "a fresh key at the setup of %s under key id %d", r, id)
		}
		two, err := a.twoKeys()
		if err != nil {
			return nil, err
		}
		out = append(out, attempt{fmt.Sprintf("two keys in one call at the setup of %s", r), s, two, sideways})
	}
	return out, nil
}

// fresh is a key that the meter never had, wrapped as its central system would.
func (a *attacker) fresh() ([]byte, error) {
	k, err := key.GenerateUnicast(a.deps.Rand)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	return a.Row.CCC.Wrap(k)
}

func (a *attacker) twoKeys() (dlms.Data, error) {
	one, err1 := a.fresh()
	two, err2 := a.fresh()
	return dlms.Array(cosem.KeyTransfer(cosem.KeyGlobalUnicast, one).At(0),
		cosem.KeyTransfer(cosem.KeyGlobalUnicast, two).At(0)), errors.Join(err1, err2)
}

// checkValues reads what names each key in force: check value, generation and time of change.
func (a *attacker) checkValues(ctx context.Context, e *entry) (map[role.Role]dlms.Data, error) {
	out := map[role.Role]dlms.Data{}
	for _, r := range a.roles() {
		object, _ := r.CheckValueObject()
		d, err := e.Get(ctx, dlms.AttributeRef{Class: dlms.ClassData, Instance: object, Attribute: 2})
		if err != nil {
			return nil, fmt.Errorf("%w: check value of %s: %w", ErrControl, r, err)
		}
		out[r] = d
	}
	return out, nil
}

func clockTime() dlms.AttributeRef {
	return dlms.AttributeRef{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
}

// traffic reads the clock under the long-term key that opened the association, with a counter that is due.
func (a *attacker) traffic(ctx context.Context) error {
	for _, sap := range a.clients() {
		before := a.result.TrafficUnderAssociationKey
		err := a.trafficAs(ctx, sap)
		if errors.Is(err, ErrControl) { // an honest end may have taken the place of the association: once more
			a.result.TrafficUnderAssociationKey = before
			err = a.trafficAs(ctx, sap)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) trafficAs(ctx context.Context, sap dlms.SAP) error {
	e, err := a.enter(ctx, sap)
	if err != nil {
		return err
	}
	defer e.leave(ctx)
	for _, tag := range []apdu.Tag{apdu.TagGloGetRequest, apdu.TagGeneralGlo} {
		b, err := a.underLongTerm(e.key, tag)
		if err != nil {
			return err
		}
		answer, err := exchange(ctx, e.conn, b)
		if err != nil {
			return err
		}
		if refused(answer) {
			a.result.TrafficUnderAssociationKey++
		} else {
			a.accepted("a %s under the long-term key of client %s", tag, sap)
		}
	}
	// The same request under the session key is served: it was the key that was refused.
	if _, err := e.Get(ctx, clockTime()); err != nil {
		return fmt.Errorf("%w: %w", ErrControl, err)
	}
	return nil
}

func (a *attacker) underLongTerm(k key.Unicast, tag apdu.Tag) ([]byte, error) {
	lt, err := a.half(k)
	if err != nil {
		return nil, err
	}
	plain, err := apdu.GetRequest{
		Kind: apdu.GetRequestNormal, ID: apdu.NewInvokeID(1, true, false), Attribute: apdu.Attribute{Ref: clockTime()},
	}.AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	ic, err := lt.Send.Next()
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	content, err := lt.Cipher.Seal(nil, security.AuthenticatedEncrypted, a.title, ic, plain)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	c := apdu.Ciphered{Tag: tag, Control: byte(security.AuthenticatedEncrypted), Counter: ic, Content: content}
	if tag.IsGeneral() {
		return apdu.GeneralCiphered{Title: a.title, Ciphered: c}.AppendBinary(nil)
	}
	return c.AppendBinary(nil)
}
