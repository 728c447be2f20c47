package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// GetRequestKind is the choice of a GetRequest.
type GetRequestKind uint8

// Kinds of a GetRequest.
const (
	GetRequestNormal   GetRequestKind = 1
	GetRequestNext     GetRequestKind = 2
	GetRequestWithList GetRequestKind = 3
)

// GetRequest reads attributes (GB 9.3.6, 9.5).
//
//	GET-Request ::= CHOICE { normal [1], next [2], with-list [3] }
//	Get-Request-Normal ::= SEQUENCE { invoke-id-and-priority, cosem-attribute-descriptor, access-selection OPTIONAL }
//	Get-Request-Next ::= SEQUENCE { invoke-id-and-priority, block-number Unsigned32 }
//	Get-Request-With-List ::= SEQUENCE { invoke-id-and-priority, SEQUENCE OF descriptor-with-selection }
type GetRequest struct {
	// Kind is the form.
	Kind GetRequestKind
	// ID is repeated by the answer.
	ID InvokeID
	// Attribute is asked for by the normal form.
	Attribute Attribute
	// Block is the number of the block received last, in the next form.
	Block uint32
	// List is asked for by the with-list form.
	List []Attribute
}

// ParseGetRequest parses a GetRequest. The normal form without selection is parsed without allocation.
func ParseGetRequest(b []byte) (q GetRequest, err error) {
	err = q.Parse(b)
	return q, err
}

// Parse is ParseGetRequest into q, whatever was in it: the struct is large, and copying it is most of what parsing a
// short APDU costs. After an error q is zero.
func (q *GetRequest) Parse(b []byte) error {
	r := wire.NewReader(b)
	*q = GetRequest{}
	q.read(&r)
	if err := done(&r, TagGetRequest); err != nil {
		*q = GetRequest{}
		return err
	}
	return nil
}

// read reads the request into q, which is zero before.
func (q *GetRequest) read(r *wire.Reader) {
	kind, id := head(r, TagGetRequest)
	q.Kind, q.ID = GetRequestKind(kind), id
	switch q.Kind {
	case GetRequestNormal:
		q.Attribute.read(r)
	case GetRequestNext:
		q.Block = r.In("block number").Uint32()
	case GetRequestWithList:
		q.List = readAttributes(r)
	default:
		unknownKind(r, kind)
	}
}

// AppendBinary appends the request.
func (q GetRequest) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendHead(dst, TagGetRequest, uint8(q.Kind), q.ID)
	var err error
	switch q.Kind {
	case GetRequestNormal:
		dst, err = q.Attribute.append(dst)
	case GetRequestNext:
		dst = appendNumber(dst, q.Block)
	case GetRequestWithList:
		dst, err = appendAttributes(dst, q.List)
	default:
		err = badKind(TagGetRequest, uint8(q.Kind))
	}
	return appendError(TagGetRequest, dst, err)
}

// GetResponseKind is the choice of a GetResponse.
type GetResponseKind uint8

// Kinds of a GetResponse.
const (
	GetResponseNormal   GetResponseKind = 1
	GetResponseBlock    GetResponseKind = 2
	GetResponseWithList GetResponseKind = 3
)

// GetResult is one outcome of reading: a value when Result is success, else the reason why there is none.
//
//	Get-Data-Result ::= CHOICE { data [0] Data, data-access-result [1] IMPLICIT Data-Access-Result }
type GetResult struct {
	// Result is success or the reason.
	Result dlms.DataAccessResult
	// Data is the value, null-data without success.
	Data dlms.Data
}

// GetResponse answers a GetRequest (GB 9.3.6, 9.5).
//
//	GET-Response ::= CHOICE { normal [1], with-datablock [2], with-list [3] }
//	Get-Response-Normal ::= SEQUENCE { invoke-id-and-priority, result Get-Data-Result }
//	Get-Response-With-Datablock ::= SEQUENCE { invoke-id-and-priority, result DataBlock-G }
//	Get-Response-With-List ::= SEQUENCE { invoke-id-and-priority, result SEQUENCE OF Get-Data-Result }
//	DataBlock-G ::= SEQUENCE { last-block BOOLEAN, block-number Unsigned32,
//	  result CHOICE { raw-data [0] IMPLICIT OCTET STRING, data-access-result [1] IMPLICIT Data-Access-Result } }
type GetResponse struct {
	// Kind is the form.
	Kind GetResponseKind
	// ID is that of the request.
	ID InvokeID
	// Result is the outcome in the normal form.
	Result GetResult
	// Block is carried by the block form.
	Block Block
	// List has one outcome for each attribute asked for, in the with-list form.
	List []GetResult
}

// ParseGetResponse parses a GetResponse. The normal form with a value that is no list is parsed without allocation.
func ParseGetResponse(b []byte) (p GetResponse, err error) {
	err = p.Parse(b)
	return p, err
}

// Parse is ParseGetResponse into p, whatever was in it, without a copy of the struct. After an error p is zero.
func (p *GetResponse) Parse(b []byte) error {
	r := wire.NewReader(b)
	*p = GetResponse{}
	p.read(&r)
	if err := done(&r, TagGetResponse); err != nil {
		*p = GetResponse{}
		return err
	}
	return nil
}

// read reads the response into p, which is zero before.
func (p *GetResponse) read(r *wire.Reader) {
	kind, id := head(r, TagGetResponse)
	p.Kind, p.ID = GetResponseKind(kind), id
	switch p.Kind {
	case GetResponseNormal:
		p.Result.read(r)
	case GetResponseBlock:
		p.Block = readBlockG(r)
	case GetResponseWithList:
		p.List = readResults(r)
	default:
		unknownKind(r, kind)
	}
}

// ParseGetResults parses the raw data of all blocks of a long get with list, put together: a SEQUENCE OF
// Get-Data-Result.
func ParseGetResults(b []byte) ([]GetResult, error) {
	r := wire.NewReader(b)
	list := readResults(&r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("parse get results: %w", err)
	}
	return list, nil
}

func readResults(r *wire.Reader) []GetResult {
	return readList(r, "result list", sizeDataResult, readGetResult)
}

// AppendGetResults appends what ParseGetResults parses, to be cut into blocks.
func AppendGetResults(dst []byte, list []GetResult) ([]byte, error) {
	dst = wire.AppendLength(dst, len(list))
	for i := range list {
		var err error
		if dst, err = list[i].append(dst); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func readGetResult(r *wire.Reader) (v GetResult) {
	v.read(r)
	return v
}

// read reads a choice into v, which is zero before. A data access result of success in the place of a value says
// nothing and is refused.
func (v *GetResult) read(r *wire.Reader) {
	if c := r.In("result").Uint8(); c != 0 {
		checkChoice(r, c)
		v.Result = readRefusal(r)
		return
	}
	dlms.ReadDataInto(r.In("data"), &v.Data)
}

// readChoice reads the tag of a choice between 0 and 1.
func readChoice(r *wire.Reader) bool {
	c := r.Uint8()
	checkChoice(r, c)
	return c == 1
}

func checkChoice(r *wire.Reader, c uint8) {
	if c > 1 {
		r.Fail(fmt.Errorf("%w: choice %d", ErrValue, c))
	}
}

// readRefusal reads a data access result that must not be success.
func readRefusal(r *wire.Reader) dlms.DataAccessResult {
	v := dlms.DataAccessResult(r.In("data access result").Uint8())
	if r.Err() == nil && v == dlms.DataAccessSuccess {
		r.Fail(fmt.Errorf("%w: success without data", ErrValue))
	}
	return v
}

func readBlockG(r *wire.Reader) Block {
	var b Block
	b.Last = r.In("last block").Bool()
	b.Number = r.In("block number").Uint32()
	if readChoice(r.In("block result")) {
		b.Result = readRefusal(r)
	} else {
		b.Raw = r.In("raw data").OctetString()
	}
	return b
}

func (v *GetResult) append(dst []byte) ([]byte, error) {
	if v.Result != dlms.DataAccessSuccess {
		return append(dst, 1, byte(v.Result)), nil
	}
	return dlms.AppendData(append(dst, 0), &v.Data)
}

func (b *Block) appendG(dst []byte) []byte {
	dst = appendNumber(wire.AppendBool(dst, b.Last), b.Number)
	if b.Result != dlms.DataAccessSuccess {
		return append(dst, 1, byte(b.Result))
	}
	return wire.AppendOctetString(append(dst, 0), b.Raw)
}

// AppendBinary appends the response, without allocation when dst has the room.
func (p GetResponse) AppendBinary(dst []byte) ([]byte, error) { return p.Append(dst) }

// Append is AppendBinary without a copy of the struct.
func (p *GetResponse) Append(dst []byte) ([]byte, error) {
	dst = appendHead(dst, TagGetResponse, uint8(p.Kind), p.ID)
	var err error
	switch p.Kind {
	case GetResponseNormal:
		dst, err = p.Result.append(dst)
	case GetResponseBlock:
		dst = p.Block.appendG(dst)
	case GetResponseWithList:
		dst, err = AppendGetResults(dst, p.List)
	default:
		err = badKind(TagGetResponse, uint8(p.Kind))
	}
	if err != nil {
		return appendError(TagGetResponse, nil, err)
	}
	return dst, nil
}
