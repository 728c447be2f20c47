package cosem

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// ID names one object: what class it is of, in which version, under which logical name (BB 4.1.2).
type ID struct {
	// Class is the interface class.
	Class dlms.ClassID
	// Version is that of the class.
	Version uint8
	// Instance is the logical name.
	Instance dlms.OBIS
}

// String returns "CLASS/OBIS".
func (i ID) String() string { return fmt.Sprintf("%d/%s", i.Class, i.Instance) }

// Env is the call in which an object is reached: by whom, when, on which device. It is valid during the call.
type Env struct {
	// Context is the context of the APDU.
	Context context.Context //nolint:containedctx // Env is the argument list of a callback, valid during one call.
	// Device is the device of the server, as it was given to it.
	Device any
	// Now is the time of the host, not of the meter's own clock object.
	Now time.Time
	// Link is the name of the link on which the APDU came.
	Link string
	// Client is the SAP of the client, and ClientName its name in the model.
	Client     dlms.SAP
	ClientName string
	// Peer is the system title that the client proved, zero in an association without security.
	Peer dlms.SystemTitle
	// Broadcast is set for an unconfirmed service addressed to all stations.
	Broadcast bool
	// Association is the association in which the call came.
	Association Association

	after []func()
}

// After has f called once the answer to this APDU has been sealed under the old session, before the next APDU is
// served. It is how a key change closes the associations of the replaced key without losing its own answer. f must
// not call the server's Handle.
func (e *Env) After(f func()) { e.after = append(e.after, f) }

// Finish runs what After was given, in order. The server calls it; a test may.
func (e *Env) Finish() {
	for _, f := range e.after {
		f()
	}
	e.after = nil
}

// Object is one COSEM object. Attributes and methods are numbered as in BB, from 1; attribute 1 is the logical name.
type Object interface {
	// ID names the object. It does not change.
	ID() ID
	// Get returns an attribute. sel is zero where no selective access was asked for.
	Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error)
	// Set changes an attribute. value may alias the APDU: copy the bytes that are kept.
	Set(env *Env, attribute int8, value dlms.Data) error
	// Invoke calls a method. parameters may alias the APDU. A method that returns nothing returns null-data.
	Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error)
}

// Selective is implemented by an object with attributes that take selective access.
type Selective interface {
	// Selectors returns the access selectors of an attribute, nil for none.
	Selectors(attribute int8) []int8
}

// Source reads one attribute value of the device in env.
type Source func(env *Env) (dlms.Data, error)

// Sink writes one attribute value of the device in env.
type Sink func(env *Env, value dlms.Data) error

// Constant is the source of a value that all devices share.
func Constant(d dlms.Data) Source { return func(*Env) (dlms.Data, error) { return d, nil } }

// base is what every object has: a name, and refusals for what its class does not have.
type base struct{ id ID }

func (b base) ID() ID { return b.id }

func (b base) name() dlms.Data {
	return dlms.LogicalNameData(b.id.Instance)
}

func (base) Set(*Env, int8, dlms.Data) error { return dlms.DataAccessReadWriteDenied }

func (base) Invoke(*Env, int8, dlms.Data) (dlms.Data, error) {
	return dlms.Null(), dlms.ActionReadWriteDenied
}

// plain refuses a selection on an attribute that takes none.
func plain(sel apdu.Selection) error {
	if !sel.IsZero() {
		return dlms.DataAccessScopeViolated
	}
	return nil
}

func read(env *Env, get Source) (dlms.Data, error) {
	if get == nil {
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	}
	return get(env)
}

func undefined() (dlms.Data, error) { return dlms.Null(), dlms.DataAccessObjectUndefined }

func call(env *Env, f func(*Env) error) (dlms.Data, error) {
	if f == nil {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	return dlms.Null(), f(env)
}

// DataAccess maps what a Get or a Set returned to the code for the line: nil is success, a result is itself, and
// every other error is other-reason.
func DataAccess(err error) dlms.DataAccessResult {
	if err == nil {
		return dlms.DataAccessSuccess
	}
	var d dlms.DataAccessResult
	if errors.As(err, &d) && d != dlms.DataAccessSuccess {
		return d
	}
	var a dlms.ActionResult
	if errors.As(err, &a) && a != dlms.ActionSuccess && a < dlms.ActionLongAborted {
		return dlms.DataAccessResult(a) // the two enumerations share their codes up to data-block-unavailable
	}
	return dlms.DataAccessOtherReason
}

// Action maps what an Invoke returned to the code for the line, as DataAccess does.
func Action(err error) dlms.ActionResult {
	if err == nil {
		return dlms.ActionSuccess
	}
	var a dlms.ActionResult
	if errors.As(err, &a) && a != dlms.ActionSuccess {
		return a
	}
	var d dlms.DataAccessResult
	if errors.As(err, &d) && d != dlms.DataAccessSuccess && d < dlms.DataAccessLongGetAborted {
		return dlms.ActionResult(d)
	}
	return dlms.ActionOtherReason
}
