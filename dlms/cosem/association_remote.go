package cosem

import (
	"bytes"
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// MethodAccess is the right of a client on one method: 0 none, 1 access, 2 access with authentication (BB 4.4.4,
// method_access_mode). Later versions of the class have more bits, which are kept as they are.
type MethodAccess struct {
	// Method is the number of the method, from 1.
	Method int8
	// Mode is the method_access_mode.
	Mode uint8
}

// ObjectEntry is one object of attribute object_list as a meter tells it (BB 4.4.4).
//
//	object_list_element ::= structure { class_id long-unsigned, version unsigned, logical_name octet-string,
//	  access_rights structure { attribute_access array, method_access array } }
type ObjectEntry struct {
	// ID names the object.
	ID ID
	// Attributes are the rights on its attributes.
	Attributes []AttributeAccess
	// Methods are the rights on its methods.
	Methods []MethodAccess
}

// Data returns the entry as it travels.
func (e ObjectEntry) Data() dlms.Data {
	methods := make([]dlms.Data, 0, len(e.Methods))
	for _, m := range e.Methods {
		methods = append(methods, dlms.Structure(dlms.Int8(m.Method), dlms.Enum(m.Mode)))
	}
	n := e.ID.Instance
	return dlms.Structure(
		dlms.Uint16(uint16(e.ID.Class)), dlms.Uint8(e.ID.Version), dlms.OctetString(n[:]),
		dlms.Structure(attributeRights(e.Attributes), dlms.Array(methods...)))
}

// ParseObjectEntry takes an entry out of a value.
func ParseObjectEntry(d dlms.Data) (ObjectEntry, error) {
	c := structure(d, 4)
	e := ObjectEntry{ID: ID{Class: dlms.ClassID(c.uint16()), Version: c.uint8(), Instance: c.name()}}
	rights := structure(c.take(dlms.TagStructure), 2)
	if c.err == nil {
		e.Attributes, rights.err = parseList(rights.d.At(0), "attribute access", parseAttributeAccess)
		if rights.err == nil {
			e.Methods, rights.err = parseList(rights.d.At(1), "method access", parseMethodAccess)
		}
		c.err = rights.err
	}
	return finish(&c, e, "object")
}

// ParseObjectList takes attribute object_list apart.
func ParseObjectList(d dlms.Data) ([]ObjectEntry, error) {
	return parseList(d, "object list", ParseObjectEntry)
}

func parseAttributeAccess(d dlms.Data) (AttributeAccess, error) {
	c := structure(d, 3)
	a := AttributeAccess{Attribute: c.int8(), Mode: AccessMode(c.enum())}
	if c.err == nil && !c.d.At(2).IsNull() {
		a.Selectors, c.err = parseList(c.d.At(2), "access selector", integer[int8](dlms.TagInt8))
	}
	return finish(&c, a, "attribute access")
}

// parseMethodAccess takes the boolean of version 0 of the class too.
func parseMethodAccess(d dlms.Data) (MethodAccess, error) {
	c := structure(d, 2)
	m := MethodAccess{Method: c.int8()}
	if allowed, err := c.d.At(1).Bool(); c.err == nil && err == nil {
		if allowed {
			m.Mode = 1
		}
		return m, nil
	}
	m.Mode = c.enum()
	return finish(&c, m, "method access")
}

// String returns "read", "read and write" and the like.
func (m AccessMode) String() string {
	names := [...]string{
		"none", "read", "write", "read and write", "read, authenticated", "write, authenticated",
		"read and write, authenticated",
	}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("access mode %d", uint8(m))
}

// Partners is attribute associated_partners_id (BB 4.4.4).
//
//	associated_partners_type ::= structure { client_SAP integer, server_SAP long-unsigned }
type Partners struct {
	// Client and Server are the two ends.
	Client, Server dlms.SAP
}

// Data returns the attribute as it travels. The client's SAP has 7 bits there.
func (p Partners) Data() dlms.Data {
	return dlms.Structure(dlms.Int8(int8(p.Client)), dlms.Uint16(uint16(p.Server)))
}

// ParsePartners takes the attribute out of a value.
func ParsePartners(d dlms.Data) (Partners, error) {
	c := structure(d, 2)
	return finish(&c, Partners{Client: dlms.SAP(uint8(c.int8())), Server: dlms.SAP(c.uint16())}, "associated partners")
}

// Name is an application context or an authentication mechanism: 2.16.756.5.8.Arc.ID (GB 9.4.2.2). Arc is 1 for a
// context and 2 for a mechanism.
type Name struct {
	// Arc is 1 or 2, and ID the number under it.
	Arc, ID uint8
}

// namePrefix is 2.16.756.5.8 as an encoded object identifier.
const namePrefix = "\x60\x85\x74\x05\x08"

// Data returns the name as an encoded object identifier, one of the two forms of BB 4.4.4.
func (n Name) Data() dlms.Data { return oid(n.Arc, n.ID) }

// ParseName takes a name out of a value: of an encoded object identifier, or of a structure of its seven numbers.
func ParseName(d dlms.Data) (Name, error) {
	if d.Tag() == dlms.TagOctetString {
		rest, ok := bytes.CutPrefix(d.Bytes(), []byte(namePrefix))
		if !ok || len(rest) != 2 {
			return Name{}, fmt.Errorf("name: %w: not 2.16.756.5.8.x.y", ErrValue)
		}
		return Name{rest[0], rest[1]}, nil
	}
	c := structure(d, 7)
	prefix := [...]uint16{uint16(c.uint8()), uint16(c.uint8()), c.uint16(), uint16(c.uint8()), uint16(c.uint8())}
	if c.err == nil && prefix != [...]uint16{2, 16, 756, 5, 8} {
		c.err = fmt.Errorf("%w: not 2.16.756.5.8.x.y", ErrValue)
	}
	return finish(&c, Name{c.uint8(), c.uint8()}, "name")
}

// ContextInfo is attribute xDLMS_context_info (BB 4.4.4), without cyphering_info: where the standard would show the
// dedicated key, it is neither kept nor sent.
type ContextInfo struct {
	// Conformance is what both ends agreed on.
	Conformance apdu.Conformance
	// MaxReceive and MaxSend are the longest APDUs, seen from the server, in bytes.
	MaxReceive, MaxSend uint16
	// Version is the version of xDLMS.
	Version uint8
	// QualityOfService is not used by DLMS/COSEM.
	QualityOfService int8
}

// Data returns the attribute as it travels.
func (i ContextInfo) Data() dlms.Data {
	n := uint32(i.Conformance)
	return dlms.Structure(
		dlms.BitString([]byte{byte(n >> 16), byte(n >> 8), byte(n)}, 24), dlms.Uint16(i.MaxReceive),
		dlms.Uint16(i.MaxSend), dlms.Uint8(i.Version), dlms.Int8(i.QualityOfService), dlms.OctetString(nil))
}

// ParseContextInfo takes the attribute out of a value.
func ParseContextInfo(d dlms.Data) (ContextInfo, error) {
	c := structure(d, 6)
	bits := c.take(dlms.TagBitString)
	if c.err == nil && bits.Len() != 24 {
		c.err = fmt.Errorf("conformance: %w: want 24 bits, got %d", ErrValue, bits.Len())
	}
	var n apdu.Conformance
	for _, b := range bits.Bytes() {
		n = n<<8 | apdu.Conformance(b)
	}
	i := ContextInfo{
		Conformance: n, MaxReceive: c.uint16(), MaxSend: c.uint16(), Version: c.uint8(), QualityOfService: c.int8(),
	}
	c.take(dlms.TagOctetString)
	return finish(&c, i, "context info")
}

// RemoteAssociation is an Association LN of a meter (BB 4.4.4).
type RemoteAssociation struct{ remote }

// AssociationAt returns the Association LN under a logical name: [CurrentAssociation] is one's own.
func AssociationAt(c Caller, o dlms.OBIS) RemoteAssociation {
	return RemoteAssociation{remote{c, dlms.ClassAssociationLN, o}}
}

// ObjectList reads the objects that this client may reach, with its rights.
func (r RemoteAssociation) ObjectList(ctx context.Context) ([]ObjectEntry, error) {
	return readAs(ctx, r.remote, 2, ParseObjectList)
}

// Partners reads the two SAPs.
func (r RemoteAssociation) Partners(ctx context.Context) (Partners, error) {
	return readAs(ctx, r.remote, 3, ParsePartners)
}

// Context reads the application context.
func (r RemoteAssociation) Context(ctx context.Context) (Name, error) {
	return readAs(ctx, r.remote, 4, ParseName)
}

// ContextInfo reads what was negotiated.
func (r RemoteAssociation) ContextInfo(ctx context.Context) (ContextInfo, error) {
	return readAs(ctx, r.remote, 5, ParseContextInfo)
}

// Mechanism reads the authentication mechanism.
func (r RemoteAssociation) Mechanism(ctx context.Context) (Name, error) {
	return readAs(ctx, r.remote, 6, ParseName)
}

// Status reads association_status: 0 not associated, 1 pending, 2 associated.
func (r RemoteAssociation) Status(ctx context.Context) (uint8, error) {
	return readAs(ctx, r.remote, 8, parseEnum[uint8])
}

// SecuritySetup reads the logical name of the security setup of the association.
func (r RemoteAssociation) SecuritySetup(ctx context.Context) (dlms.OBIS, error) {
	return readAs(ctx, r.remote, 9, dlms.Data.LogicalName)
}
