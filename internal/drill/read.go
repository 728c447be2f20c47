package drill

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
)

// lastAttribute is the highest attribute that is read of every object: more than any class of the Blue Book has.
const lastAttribute = 20

// maxBroken is how many reads of one client may stay without a result.
const maxBroken = 4

// lastPublicSetup is the last attribute of a Security setup that the Blue Book knows (class 64 version 1: certificates).
// What would be above is where a maker might have put a key.
const lastPublicSetup = 6

// object is an object to be read.
type object struct {
	class    dlms.ClassID
	instance dlms.OBIS
}

// reads looks for keys in everything that can be read.
func (a *attacker) reads(ctx context.Context) error {
	for _, sap := range append([]dlms.SAP{dlms.SAPPublic}, a.clients()...) {
		if err := a.readsAs(ctx, sap); err != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) readsAs(ctx context.Context, sap dlms.SAP) error {
	e, err := a.enter(ctx, sap)
	if err != nil {
		return err
	}
	defer func() { e.leave(ctx) }()
	objects, err := a.objects(ctx, e)
	if err != nil {
		return err
	}
	for i, broken := 0, 0; i < len(objects)*lastAttribute; i++ {
		o := objects[i/lastAttribute]
		ref := dlms.AttributeRef{Class: o.class, Instance: o.instance, Attribute: int8(i%lastAttribute + 1)}
		d, err := e.Get(ctx, ref)
		if err == nil || errors.As(err, new(dlms.DataAccessResult)) {
			a.judge(sap, ref, d, err)
			continue
		}
		// No result: an honest end may have taken the place of the association. Once more in a new one.
		if broken++; broken > maxBroken {
			return fmt.Errorf("%w: reads as client %s: %w", ErrControl, sap, err)
		}
		if e, err = a.again(ctx, e); err != nil {
			return err
		}
		i--
	}
	return nil
}

// judge looks at one result: a refusal counts where a key would be, a value must not hold one.
func (a *attacker) judge(sap dlms.SAP, ref dlms.AttributeRef, d dlms.Data, err error) {
	bears := bearsKey(ref)
	if err != nil {
		if bears {
			a.result.KeyRead++
		}
		return
	}
	if bears {
		a.accepted("client %s reads %s", sap, ref)
	}
	b, err := d.AppendBinary(nil)
	if err != nil {
		a.accepted("client %s reads %s: a value that could not be searched", sap, ref)
		return
	}
	if what, found := a.find(b); found {
		a.accepted("client %s reads %s: it shows %s", sap, ref, what)
	}
}

// bearsKey reports whether an attribute is one where a key is kept, or would be.
func bearsKey(r dlms.AttributeRef) bool {
	switch r.Class {
	case dlms.ClassAssociationLN:
		return r.Attribute == cosem.AttributeSecret
	case dlms.ClassSecuritySetup:
		return r.Attribute > lastPublicSetup
	}
	return false
}

// objects lists what the meter says that there is, and where keys are whatever it says.
func (a *attacker) objects(ctx context.Context, e *entry) ([]object, error) {
	seen := map[object]bool{}
	var out []object
	add := func(o object) {
		if !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	list, err := e.Get(ctx, dlms.AttributeRef{
		Class: dlms.ClassAssociationLN, Instance: cosem.CurrentAssociation(), Attribute: 2,
	})
	if err != nil && !errors.As(err, new(dlms.DataAccessResult)) {
		return nil, fmt.Errorf("%w: object list of client %s: %w", ErrControl, e.sap, err)
	}
	for i := range list.Len() {
		class, errC := list.At(i).At(0).Uint()
		name, errN := list.At(i).At(2).LogicalName()
		if errC != nil || errN != nil {
			return nil, fmt.Errorf("%w: object list of client %s: %w", ErrControl, e.sap, errors.Join(errC, errN))
		}
		add(object{dlms.ClassID(class), name})
	}
	add(object{dlms.ClassAssociationLN, cosem.CurrentAssociation()})
	for g := range byte(4) {
		add(object{dlms.ClassSecuritySetup, dlms.OBIS{0, 0, 43, 0, g, 255}})
		add(object{dlms.ClassData, dlms.OBIS{0, 0, 43, 1, g, 255}})
		add(object{dlms.ClassData, dlms.OBIS{0, 128, 43, 0, g, 255}})
	}
	return out, nil
}

// find looks for a known key in b, in binary and in hexadecimal text. It compares fingerprints: equal ones mean equal
// keys, and no key has to leave its type.
func (a *attacker) find(b []byte) (what string, found bool) {
	var text [key.Size]byte
	for i := 0; i+key.Size <= len(b); i++ {
		if what, found = a.names(b[i : i+key.Size]); found {
			return what, true
		}
		if i+2*key.Size > len(b) {
			continue
		}
		if _, err := hex.Decode(text[:], b[i:i+2*key.Size]); err == nil {
			if what, found = a.names(text[:]); found {
				return what, true
			}
		}
	}
	return "", false
}

func (a *attacker) names(b []byte) (what string, known bool) {
	k, err := key.NewUnicast(b)
	if err != nil {
		return "", false
	}
	what, known = a.known[k.Fingerprint()]
	return what, known
}
