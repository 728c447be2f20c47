package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// ActionRequestKind is the choice of an ActionRequest.
type ActionRequestKind uint8

// Kinds of an ActionRequest.
const (
	ActionRequestNormal             ActionRequestKind = 1
	ActionRequestNext               ActionRequestKind = 2
	ActionRequestWithList           ActionRequestKind = 3
	ActionRequestFirstBlock         ActionRequestKind = 4
	ActionRequestListWithFirstBlock ActionRequestKind = 5
	ActionRequestBlock              ActionRequestKind = 6
)

// ActionRequest invokes methods (GB 9.3.8, 9.5).
//
//	ACTION-Request ::= CHOICE { normal [1], next-pblock [2], with-list [3], with-first-pblock [4],
//	  with-list-and-first-pblock [5], with-pblock [6] }
//	[1] invoke-id-and-priority, cosem-method-descriptor, method-invocation-parameters Data OPTIONAL
//	[2] invoke-id-and-priority, block-number Unsigned32
//	[3] invoke-id-and-priority, SEQUENCE OF cosem-method-descriptor, SEQUENCE OF Data
//	[4] invoke-id-and-priority, cosem-method-descriptor, DataBlock-SA
//	[5] invoke-id-and-priority, SEQUENCE OF cosem-method-descriptor, DataBlock-SA
//	[6] invoke-id-and-priority, DataBlock-SA
type ActionRequest struct {
	// Kind is the form.
	Kind ActionRequestKind
	// ID is repeated by the answer.
	ID InvokeID
	// Method is invoked by the normal form and by a first block.
	Method dlms.MethodRef
	// Parameters are those of the normal form, sent when HasParameters is set.
	HasParameters bool
	Parameters    dlms.Data
	// Number is the number of the block received last, in the next form.
	Number uint32
	// Block is carried by the forms with a block.
	Block Block
	// Methods and Values are those of the with-list form, one for one.
	Methods []dlms.MethodRef
	Values  []dlms.Data
}

// ParseActionRequest parses an ActionRequest. That Methods and Values have the same length is the server's to check.
func ParseActionRequest(b []byte) (ActionRequest, error) {
	r := wire.NewReader(b)
	q := readActionRequest(&r)
	if err := done(&r, TagActionRequest); err != nil {
		return ActionRequest{}, err
	}
	return q, nil
}

func readActionRequest(r *wire.Reader) ActionRequest {
	kind, id := head(r, TagActionRequest)
	q := ActionRequest{Kind: ActionRequestKind(kind), ID: id}
	switch q.Kind {
	case ActionRequestNormal:
		q.Method = readMethodRef(r)
		if q.HasParameters = r.In("parameters").Optional(); q.HasParameters {
			q.Parameters = dlms.ReadData(r)
		}
	case ActionRequestNext:
		q.Number = r.In("block number").Uint32()
	case ActionRequestWithList:
		q.Methods = readMethods(r)
		q.Values = readValues(r, "parameter list")
	case ActionRequestFirstBlock:
		q.Method = readMethodRef(r)
		q.Block = readBlockSA(r)
	case ActionRequestListWithFirstBlock:
		q.Methods = readMethods(r)
		q.Block = readBlockSA(r)
	case ActionRequestBlock:
		q.Block = readBlockSA(r)
	default:
		unknownKind(r, kind)
	}
	return q
}

func readMethods(r *wire.Reader) []dlms.MethodRef {
	return readList(r, "method descriptor list", sizeMethod, readMethodRef)
}

// AppendBinary appends the request.
func (q ActionRequest) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := q.appendTo(appendHead(dst, TagActionRequest, uint8(q.Kind), q.ID))
	return appendError(TagActionRequest, dst, err)
}

func (q *ActionRequest) appendTo(dst []byte) ([]byte, error) {
	switch q.Kind {
	case ActionRequestNormal:
		dst = wire.AppendBool(appendMethodRef(dst, q.Method), q.HasParameters)
		if q.HasParameters {
			return q.Parameters.AppendBinary(dst)
		}
		return dst, nil
	case ActionRequestNext:
		return appendNumber(dst, q.Number), nil
	case ActionRequestWithList:
		return appendValues(appendMethods(dst, q.Methods), q.Values)
	case ActionRequestFirstBlock:
		return q.Block.appendSA(appendMethodRef(dst, q.Method)), nil
	case ActionRequestListWithFirstBlock:
		return q.Block.appendSA(appendMethods(dst, q.Methods)), nil
	case ActionRequestBlock:
		return q.Block.appendSA(dst), nil
	}
	return nil, badKind(TagActionRequest, uint8(q.Kind))
}

func appendMethods(dst []byte, list []dlms.MethodRef) []byte {
	dst = wire.AppendLength(dst, len(list))
	for _, m := range list {
		dst = appendMethodRef(dst, m)
	}
	return dst
}

// ActionResponseKind is the choice of an ActionResponse.
type ActionResponseKind uint8

// Kinds of an ActionResponse.
const (
	ActionResponseNormal   ActionResponseKind = 1
	ActionResponseBlock    ActionResponseKind = 2
	ActionResponseWithList ActionResponseKind = 3
	ActionResponseNext     ActionResponseKind = 4
)

// ActionOutcome is the outcome of one method, with return parameters when HasReturn is set: a value, or the reason
// why there is none.
//
//	Action-Response-With-Optional-Data ::= SEQUENCE { result Action-Result, return-parameters Get-Data-Result OPTIONAL }
type ActionOutcome struct {
	// Result says whether the method took effect.
	Result dlms.ActionResult
	// HasReturn says whether Return is sent.
	HasReturn bool
	Return    GetResult
}

// ActionResponse answers an ActionRequest (GB 9.3.8, 9.5).
//
//	ACTION-Response ::= CHOICE { normal [1], with-pblock [2], with-list [3], next-pblock [4] }
//	[1] invoke-id-and-priority, Action-Response-With-Optional-Data
//	[2] invoke-id-and-priority, DataBlock-SA
//	[3] invoke-id-and-priority, SEQUENCE OF Action-Response-With-Optional-Data
//	[4] invoke-id-and-priority, block-number Unsigned32
type ActionResponse struct {
	// Kind is the form.
	Kind ActionResponseKind
	// ID is that of the request.
	ID InvokeID
	// Outcome is that of the normal form.
	Outcome ActionOutcome
	// Block is carried by the block form.
	Block Block
	// List has one outcome for each method, in the with-list form.
	List []ActionOutcome
	// Number is the number of the block received last, in the next form.
	Number uint32
}

// ParseActionResponse parses an ActionResponse.
func ParseActionResponse(b []byte) (ActionResponse, error) {
	r := wire.NewReader(b)
	p := readActionResponse(&r)
	if err := done(&r, TagActionResponse); err != nil {
		return ActionResponse{}, err
	}
	return p, nil
}

func readActionResponse(r *wire.Reader) ActionResponse {
	kind, id := head(r, TagActionResponse)
	p := ActionResponse{Kind: ActionResponseKind(kind), ID: id}
	switch p.Kind {
	case ActionResponseNormal:
		p.Outcome = readLastOutcome(r)
	case ActionResponseBlock:
		p.Block = readBlockSA(r)
	case ActionResponseWithList:
		p.List = readOutcomes(r)
	case ActionResponseNext:
		p.Number = r.In("block number").Uint32()
	default:
		unknownKind(r, kind)
	}
	return p
}

// ParseOutcomes parses the raw data of all blocks of a long action response with list, put together: a SEQUENCE OF
// Action-Response-With-Optional-Data.
func ParseOutcomes(b []byte) ([]ActionOutcome, error) {
	r := wire.NewReader(b)
	list := readOutcomes(&r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("parse outcomes: %w", err)
	}
	return list, nil
}

// AppendOutcomes appends what ParseOutcomes parses, to be cut into blocks.
func AppendOutcomes(dst []byte, list []ActionOutcome) ([]byte, error) {
	dst = wire.AppendLength(dst, len(list))
	for i := range list {
		var err error
		if dst, err = list[i].append(dst); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func readOutcomes(r *wire.Reader) []ActionOutcome {
	return readList(r, "response list", sizeAction, readOutcome)
}

// readLastOutcome reads an outcome with which the APDU ends. Some meters leave out that there are no return parameters
// when they refuse; with nothing behind the result it can mean nothing else.
func readLastOutcome(r *wire.Reader) ActionOutcome {
	if result, ok := r.Peek(); !ok || r.Len() != 1 || dlms.ActionResult(result) == dlms.ActionSuccess {
		return readOutcome(r)
	}
	r.MarkLax()
	return ActionOutcome{Result: dlms.ActionResult(r.In("result").Uint8())}
}

// readOutcome reads the outcome of one method. Some meters say "data access result success" for no return
// parameters; that is let pass and means the same.
func readOutcome(r *wire.Reader) ActionOutcome {
	v := ActionOutcome{Result: dlms.ActionResult(r.In("result").Uint8())}
	if !r.In("return parameters").Optional() {
		return v
	}
	if !readChoice(r) {
		v.HasReturn, v.Return.Data = true, dlms.ReadData(r)
		return v
	}
	v.Return.Result = dlms.DataAccessResult(r.Uint8())
	if v.HasReturn = v.Return.Result != dlms.DataAccessSuccess; !v.HasReturn {
		r.MarkLax()
	}
	return v
}

func (v *ActionOutcome) append(dst []byte) ([]byte, error) {
	dst = wire.AppendBool(append(dst, byte(v.Result)), v.HasReturn)
	if !v.HasReturn {
		return dst, nil
	}
	return v.Return.append(dst)
}

// AppendBinary appends the response.
func (p ActionResponse) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendHead(dst, TagActionResponse, uint8(p.Kind), p.ID)
	var err error
	switch p.Kind {
	case ActionResponseNormal:
		dst, err = p.Outcome.append(dst)
	case ActionResponseBlock:
		dst = p.Block.appendSA(dst)
	case ActionResponseWithList:
		dst, err = AppendOutcomes(dst, p.List)
	case ActionResponseNext:
		dst = appendNumber(dst, p.Number)
	default:
		err = badKind(TagActionResponse, uint8(p.Kind))
	}
	return appendError(TagActionResponse, dst, err)
}
