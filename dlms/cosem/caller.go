package cosem

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Caller reaches the objects of a meter: an open association of package client is one. A refusal by the meter is a
// [dlms.DataAccessResult] or a [dlms.ActionResult] in the chain of the error.
//
// The Remote types of this package are the objects of a meter seen through a Caller; RegisterAt and the like return
// them. They hold nothing but the Caller and a name, so they cost nothing and live as long as the Caller.
type Caller interface {
	// Get reads an attribute.
	Get(ctx context.Context, ref dlms.AttributeRef) (dlms.Data, error)
	// GetSelected reads a part of an attribute.
	GetSelected(ctx context.Context, ref dlms.AttributeRef, s apdu.Selection) (dlms.Data, error)
	// Set writes an attribute.
	Set(ctx context.Context, ref dlms.AttributeRef, value dlms.Data) error
	// Action calls a method and returns what it returned, null-data for nothing. A null arg sends no parameters.
	Action(ctx context.Context, ref dlms.MethodRef, arg dlms.Data) (dlms.Data, error)
}

// remote is one object of a meter.
type remote struct {
	caller   Caller
	class    dlms.ClassID
	instance dlms.OBIS
}

// Instance returns the logical name of the object.
func (r remote) Instance() dlms.OBIS { return r.instance }

func (r remote) attribute(n int8) dlms.AttributeRef {
	return dlms.AttributeRef{Class: r.class, Instance: r.instance, Attribute: n}
}

func (r remote) get(ctx context.Context, n int8) (dlms.Data, error) {
	return r.caller.Get(ctx, r.attribute(n))
}

func (r remote) set(ctx context.Context, n int8, v dlms.Data) error {
	return r.caller.Set(ctx, r.attribute(n), v)
}

// do calls a method that returns nothing of interest.
func (r remote) do(ctx context.Context, n int8, arg dlms.Data) error {
	_, err := r.caller.Action(ctx, dlms.MethodRef{Class: r.class, Instance: r.instance, Method: n}, arg)
	return err
}

// trigger calls a method whose parameter says nothing: integer 0 by the standard.
func (r remote) trigger(ctx context.Context, n int8) error { return r.do(ctx, n, dlms.Int8(0)) }

// readAs reads an attribute and takes a typed value out of it.
func readAs[T any](ctx context.Context, r remote, n int8, parse func(dlms.Data) (T, error)) (T, error) {
	var zero T
	d, err := r.get(ctx, n)
	if err != nil {
		return zero, err
	}
	v, err := parse(d)
	if err != nil {
		return zero, fmt.Errorf("get %s: %w", r.attribute(n), err)
	}
	return v, nil
}
