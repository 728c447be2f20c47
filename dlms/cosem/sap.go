package cosem

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
)

// SAPItem is one logical device of a physical device (BB 4.4.5).
//
//	asslist_element ::= structure { SAP long-unsigned, logical_device_name octet-string }
type SAPItem struct {
	// SAP is that of the logical device.
	SAP dlms.SAP
	// Name is its logical device name, at most 16 bytes.
	Name []byte
}

// Data returns the item as it travels.
func (s SAPItem) Data() dlms.Data {
	return dlms.Structure(dlms.Uint16(uint16(s.SAP)), dlms.OctetString(s.Name))
}

// ParseSAPItem takes an item out of a value.
func ParseSAPItem(d dlms.Data) (SAPItem, error) {
	c := structure(d, 2)
	return finish(&c, SAPItem{SAP: dlms.SAP(c.uint16()), Name: c.octets()}, "sap item")
}

// SAPAssignmentConfig describes a SAP assignment.
type SAPAssignmentConfig struct {
	// Instance is the logical name, 0.0.41.0.0.255 as a rule.
	Instance dlms.OBIS
	// List is the logical devices; its Save serves a client that writes the whole list.
	List Stored[[]SAPItem]
	// Connect serves connect_logical_device (method 1); nil refuses. An item of SAP 0 takes the name away.
	Connect func(env *Env, item SAPItem) error
}

func sapFields() []field[[]SAPItem] {
	return []field[[]SAPItem]{
		fieldOf(func(v *[]SAPItem) *[]SAPItem { return v }, listData[SAPItem], listOf("sap item", ParseSAPItem)),
	}
}

// Bounds of a SAP assignment, ours.
const (
	maxSAPItems = 64
	maxSAPName  = 64
)

func checkSAPs(list []SAPItem) error {
	for _, item := range list {
		if err := outside("logical device name", len(item.Name), 0, maxSAPName); err != nil {
			return err
		}
	}
	return outside("logical devices", len(list), 0, maxSAPItems)
}

// NewSAPAssignment returns an object of class SAP assignment (BB 4.4.5, class 17 version 0).
func NewSAPAssignment(cfg SAPAssignmentConfig) Object {
	o := &record[[]SAPItem]{
		base:  base{ID{Class: dlms.ClassSAPAssignment, Instance: cfg.Instance}},
		store: cfg.List, fields: sapFields(), check: checkSAPs,
	}
	if cfg.Connect != nil {
		o.methods = append(o.methods, func(env *Env, d dlms.Data) error {
			item, err := ParseSAPItem(d)
			if err != nil {
				return dlms.ActionTypeUnmatched
			}
			if checkSAPs([]SAPItem{item}) != nil {
				return dlms.ActionScopeViolated
			}
			return cfg.Connect(env, item)
		})
	}
	return o
}

// RemoteSAPAssignment is a SAP assignment of a meter.
type RemoteSAPAssignment struct{ remote }

// SAPAssignmentAt returns the SAP assignment under a logical name, 0.0.41.0.0.255 by the standard.
func SAPAssignmentAt(c Caller, o dlms.OBIS) RemoteSAPAssignment {
	return RemoteSAPAssignment{remote{c, dlms.ClassSAPAssignment, o}}
}

// List reads the logical devices.
func (r RemoteSAPAssignment) List(ctx context.Context) ([]SAPItem, error) {
	return readRecord(ctx, r.remote, sapFields())
}

// Connect gives a logical device a SAP.
func (r RemoteSAPAssignment) Connect(ctx context.Context, item SAPItem) error {
	return r.do(ctx, 1, item.Data())
}
