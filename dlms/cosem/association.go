package cosem

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// CurrentAssociation returns the logical name under which every client finds its own association (BB 6.2).
func CurrentAssociation() dlms.OBIS { return dlms.OBIS{0, 0, 40, 0, 0, 255} }

// MethodReplyToHLS is reply_to_HLS_authentication of class 15 (BB 4.4.4): passes 3 and 4. The server serves it
// itself, before the objects are reached.
const MethodReplyToHLS int8 = 1

// AttributeSecret is attribute secret of class 15, which nobody reads.
const AttributeSecret int8 = 7

// Association is what an association tells of itself.
type Association interface {
	// Context returns what was agreed.
	Context() AssociationContext
	// ObjectList returns the objects that this client may reach, with its rights (see [ObjectList]).
	ObjectList() dlms.Data
}

// AssociationContext is what was agreed when the association was opened.
type AssociationContext struct {
	// Client and Server are the two ends.
	Client, Server dlms.SAP
	// Ciphered selects the application context with ciphering (GB 9.4.2.2.2).
	Ciphered bool
	// Mechanism is the number of the authentication mechanism: 0 none, 5 HLS with GMAC (GB 9.4.2.2.3).
	Mechanism uint8
	// Conformance is what both ends offer.
	Conformance apdu.Conformance
	// MaxReceive and MaxSend are the largest APDUs, seen from the server.
	MaxReceive, MaxSend uint16
	// Setup is the security setup of the association, zero where it has none.
	Setup dlms.OBIS
	// Open is false between AARE and the end of HLS.
	Open bool
}

type association struct{ base }

// NewAssociation returns the current association (BB 4.4.4, class 15 version 1), the same object for every client:
// each sees its own. Attribute secret is refused, and cyphering_info of xDLMS_context_info, where the standard
// would show the dedicated key, is empty (law 2).
func NewAssociation() Object {
	return &association{base{ID{Class: dlms.ClassAssociationLN, Version: 1, Instance: CurrentAssociation()}}}
}

func (o *association) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	if env.Association == nil {
		return dlms.Null(), dlms.DataAccessObjectUnavailable
	}
	c := env.Association.Context()
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		return env.Association.ObjectList(), nil
	case 3:
		return Partners{c.Client, c.Server}.Data(), nil
	case 4:
		return oid(1, contextID(c.Ciphered)), nil
	case 5:
		return c.info().Data(), nil
	case 6:
		return oid(2, c.Mechanism), nil
	case AttributeSecret:
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	case 8:
		return dlms.Enum(status(c.Open)), nil
	case 9:
		return dlms.OctetString(c.Setup[:]), nil
	}
	return undefined()
}

func contextID(ciphered bool) uint8 {
	if ciphered {
		return 3
	}
	return 1
}

// status is association_status: 1 pending, 2 associated.
func status(open bool) uint8 {
	if open {
		return 2
	}
	return 1
}

// oid writes a name under 2.16.756.5.8 as the encoded object identifier, one of the two forms of BB 4.4.4.
func oid(arc, id uint8) dlms.Data {
	return dlms.OctetString([]byte(namePrefix + string([]byte{arc, id})))
}

func (c AssociationContext) info() ContextInfo {
	return ContextInfo{Conformance: c.Conformance, MaxReceive: c.MaxReceive, MaxSend: c.MaxSend, Version: 6}
}

// AccessMode is what a client may do with an attribute (BB 4.4.4, access_mode of version 1).
type AccessMode uint8

// Access modes. That requests have to be protected is the policy of the association and not repeated here.
const (
	NoAccess  AccessMode = 0
	ReadOnly  AccessMode = 1
	WriteOnly AccessMode = 2
	ReadWrite AccessMode = 3
)

// AttributeAccess is the right of a client on one attribute.
type AttributeAccess struct {
	// Attribute is the number of the attribute, from 1.
	Attribute int8
	// Mode is what the client may do with it.
	Mode AccessMode
	// Selectors are the selective accesses that it has; nil for none.
	Selectors []int8
}

// Visible is one object as one client sees it.
type Visible struct {
	// ID names the object.
	ID ID
	// Attributes are the attributes that the client may reach.
	Attributes []AttributeAccess
	// Methods are the numbers of the methods that it may call.
	Methods []int8
}

// ObjectList writes attribute object_list (BB 4.4.4). What a client may not reach at all is not in it.
func ObjectList(objects []Visible) dlms.Data {
	list := make([]dlms.Data, 0, len(objects))
	for _, o := range objects {
		n := o.ID.Instance
		list = append(list, dlms.Structure(
			dlms.Uint16(uint16(o.ID.Class)), dlms.Uint8(o.ID.Version), dlms.OctetString(n[:]),
			dlms.Structure(attributeRights(o.Attributes), methodRights(o.Methods))))
	}
	return dlms.Array(list...)
}

func attributeRights(rights []AttributeAccess) dlms.Data {
	list := make([]dlms.Data, 0, len(rights))
	for _, r := range rights {
		list = append(list, dlms.Structure(
			dlms.Int8(r.Attribute), dlms.Enum(uint8(r.Mode)), selectors(r.Selectors)))
	}
	return dlms.Array(list...)
}

func selectors(s []int8) dlms.Data {
	if len(s) == 0 {
		return dlms.Null()
	}
	list := make([]dlms.Data, 0, len(s))
	for _, n := range s {
		list = append(list, dlms.Int8(n))
	}
	return dlms.Array(list...)
}

func methodRights(methods []int8) dlms.Data {
	list := make([]dlms.Data, 0, len(methods))
	for _, m := range methods {
		list = append(list, dlms.Structure(dlms.Int8(m), dlms.Enum(1)))
	}
	return dlms.Array(list...)
}
