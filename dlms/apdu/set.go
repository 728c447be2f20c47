package apdu

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// SetRequestKind is the choice of a SetRequest.
type SetRequestKind uint8

// Kinds of a SetRequest.
const (
	SetRequestNormal             SetRequestKind = 1
	SetRequestFirstBlock         SetRequestKind = 2
	SetRequestBlock              SetRequestKind = 3
	SetRequestWithList           SetRequestKind = 4
	SetRequestListWithFirstBlock SetRequestKind = 5
)

// SetRequest writes attributes (GB 9.3.7, 9.5).
//
//	SET-Request ::= CHOICE { normal [1], with-first-datablock [2], with-datablock [3], with-list [4],
//	  with-list-and-first-datablock [5] }
//	[1] invoke-id-and-priority, cosem-attribute-descriptor, access-selection OPTIONAL, value Data
//	[2] invoke-id-and-priority, cosem-attribute-descriptor, access-selection OPTIONAL, DataBlock-SA
//	[3] invoke-id-and-priority, DataBlock-SA
//	[4] invoke-id-and-priority, SEQUENCE OF descriptor-with-selection, SEQUENCE OF Data
//	[5] invoke-id-and-priority, SEQUENCE OF descriptor-with-selection, DataBlock-SA
//	DataBlock-SA ::= SEQUENCE { last-block BOOLEAN, block-number Unsigned32, raw-data OCTET STRING }
type SetRequest struct {
	// Kind is the form.
	Kind SetRequestKind
	// ID is repeated by the answer.
	ID InvokeID
	// Attribute and Value are written by the normal form; Attribute also names the target of a first block.
	Attribute Attribute
	Value     dlms.Data
	// Block is carried by the forms with a block.
	Block Block
	// List and Values are written by the with-list form, one for one.
	List   []Attribute
	Values []dlms.Data
}

// ParseSetRequest parses a SetRequest. That List and Values have the same length is the server's to check.
func ParseSetRequest(b []byte) (SetRequest, error) {
	r := wire.NewReader(b)
	q := readSetRequest(&r)
	if err := done(&r, TagSetRequest); err != nil {
		return SetRequest{}, err
	}
	return q, nil
}

func readSetRequest(r *wire.Reader) SetRequest {
	kind, id := head(r, TagSetRequest)
	q := SetRequest{Kind: SetRequestKind(kind), ID: id}
	switch q.Kind {
	case SetRequestNormal:
		q.Attribute = readAttribute(r)
		q.Value = dlms.ReadData(r.In("value"))
	case SetRequestFirstBlock:
		q.Attribute = readAttribute(r)
		q.Block = readBlockSA(r)
	case SetRequestBlock:
		q.Block = readBlockSA(r)
	case SetRequestWithList:
		q.List = readAttributes(r)
		q.Values = readValues(r, "value list")
	case SetRequestListWithFirstBlock:
		q.List = readAttributes(r)
		q.Block = readBlockSA(r)
	default:
		unknownKind(r, kind)
	}
	return q
}

// AppendBinary appends the request.
func (q SetRequest) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := q.appendTo(appendHead(dst, TagSetRequest, uint8(q.Kind), q.ID))
	return appendError(TagSetRequest, dst, err)
}

func (q *SetRequest) appendTo(dst []byte) ([]byte, error) {
	var err error
	switch q.Kind {
	case SetRequestNormal:
		if dst, err = q.Attribute.append(dst); err == nil {
			dst, err = q.Value.AppendBinary(dst)
		}
	case SetRequestFirstBlock:
		if dst, err = q.Attribute.append(dst); err == nil {
			dst = q.Block.appendSA(dst)
		}
	case SetRequestBlock:
		dst = q.Block.appendSA(dst)
	case SetRequestWithList:
		if dst, err = appendAttributes(dst, q.List); err == nil {
			dst, err = appendValues(dst, q.Values)
		}
	case SetRequestListWithFirstBlock:
		if dst, err = appendAttributes(dst, q.List); err == nil {
			dst = q.Block.appendSA(dst)
		}
	default:
		err = badKind(TagSetRequest, uint8(q.Kind))
	}
	return dst, err
}

// SetResponseKind is the choice of a SetResponse.
type SetResponseKind uint8

// Kinds of a SetResponse.
const (
	SetResponseNormal            SetResponseKind = 1
	SetResponseBlock             SetResponseKind = 2
	SetResponseLastBlock         SetResponseKind = 3
	SetResponseLastBlockWithList SetResponseKind = 4
	SetResponseWithList          SetResponseKind = 5
)

// SetResponse answers a SetRequest (GB 9.3.7, 9.5).
//
//	SET-Response ::= CHOICE { normal [1], datablock [2], last-datablock [3], last-datablock-with-list [4],
//	  with-list [5] }
//	[1] invoke-id-and-priority, Data-Access-Result
//	[2] invoke-id-and-priority, block-number Unsigned32
//	[3] invoke-id-and-priority, Data-Access-Result, block-number Unsigned32
//	[4] invoke-id-and-priority, SEQUENCE OF Data-Access-Result, block-number Unsigned32
//	[5] invoke-id-and-priority, SEQUENCE OF Data-Access-Result
type SetResponse struct {
	// Kind is the form.
	Kind SetResponseKind
	// ID is that of the request.
	ID InvokeID
	// Result is the outcome in the normal and last-block forms.
	Result dlms.DataAccessResult
	// List has the outcomes in the forms with a list.
	List []dlms.DataAccessResult
	// Block is the number of the block that is confirmed, in the forms with a block.
	Block uint32
}

// ParseSetResponse parses a SetResponse.
func ParseSetResponse(b []byte) (SetResponse, error) {
	r := wire.NewReader(b)
	p := readSetResponse(&r)
	if err := done(&r, TagSetResponse); err != nil {
		return SetResponse{}, err
	}
	return p, nil
}

func readSetResponse(r *wire.Reader) SetResponse {
	kind, id := head(r, TagSetResponse)
	p := SetResponse{Kind: SetResponseKind(kind), ID: id}
	switch p.Kind {
	case SetResponseNormal, SetResponseLastBlock:
		p.Result = readAccessResult(r.In("result"))
	case SetResponseWithList, SetResponseLastBlockWithList:
		p.List = readList(r, "result list", sizeResult, readAccessResult)
	case SetResponseBlock:
	default:
		unknownKind(r, kind)
	}
	if p.Kind.hasBlock() {
		p.Block = r.In("block number").Uint32()
	}
	return p
}

// hasBlock reports whether the form ends with a block number.
func (k SetResponseKind) hasBlock() bool {
	return k == SetResponseBlock || k == SetResponseLastBlock || k == SetResponseLastBlockWithList
}

func readAccessResult(r *wire.Reader) dlms.DataAccessResult { return dlms.DataAccessResult(r.Uint8()) }

// AppendBinary appends the response.
func (p SetResponse) AppendBinary(dst []byte) ([]byte, error) {
	dst = appendHead(dst, TagSetResponse, uint8(p.Kind), p.ID)
	switch p.Kind {
	case SetResponseNormal, SetResponseLastBlock:
		dst = append(dst, byte(p.Result))
	case SetResponseWithList, SetResponseLastBlockWithList:
		dst = wire.AppendLength(dst, len(p.List))
		for _, v := range p.List {
			dst = append(dst, byte(v))
		}
	case SetResponseBlock:
	default:
		return nil, badKind(TagSetResponse, uint8(p.Kind))
	}
	if p.Kind.hasBlock() {
		dst = appendNumber(dst, p.Block)
	}
	return dst, nil
}
