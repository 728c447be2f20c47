package apdu

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
)

func TestGetRequestNamesAttributeAndSelection(t *testing.T) {
	q, err := ParseGetRequest(unhex(t, vectorNamed(t, "get-request-normal by range")))
	if err != nil {
		t.Fatal(err)
	}
	if q.ID != NewInvokeID(1, true, true) || q.Attribute.Ref.String() != "7/1.0.99.1.0.255/2" {
		t.Errorf("got %s, %s", q.ID, q.Attribute.Ref)
	}
	d, err := ParseRangeDescriptor(q.Attribute.Selection)
	if err != nil {
		t.Fatal(err)
	}
	clock := Column{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
	if d.Column != clock || len(d.Columns) != 0 {
		t.Errorf("got %+v", d)
	}
	from, err := d.From.DateTime()
	if err != nil || from.String() != "2017-10-01 Sun 00:00:00.00 -60 status 80" {
		t.Errorf("got %s, %v", from, err)
	}
}

func TestEntryDescriptorGoesThereAndBack(t *testing.T) {
	want := EntryDescriptor{FromEntry: 1, ToEntry: 0xFFFFFFFF, FromColumn: 2, ToColumn: 0xFFFF}
	if got, err := ParseEntryDescriptor(want.Selection()); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	columns := []Column{{Class: 3, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: -2, Index: 7}}
	r := RangeDescriptor{From: dlms.Uint32(1), To: dlms.Uint32(2), Columns: columns}
	if got, err := ParseRangeDescriptor(r.Selection()); err != nil || len(got.Columns) != 1 || got.Columns[0] != columns[0] {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDescriptorsRefuseOtherShapes(t *testing.T) {
	column := Column{}.Data()
	for _, d := range []dlms.Data{
		dlms.Null(), dlms.Structure(), dlms.Structure(column, dlms.Null(), dlms.Null(), dlms.Null()),
		dlms.Structure(dlms.Null(), dlms.Null(), dlms.Null(), dlms.Array()),
		dlms.Structure(column, dlms.Null(), dlms.Null(), dlms.Array(dlms.Null())),
		dlms.Array(column, dlms.Null(), dlms.Null(), dlms.Array()),
		dlms.Structure(dlms.Uint32(1), dlms.Uint32(1), dlms.Uint16(1), dlms.Uint8(1)),
		dlms.Structure(dlms.Structure(dlms.Uint16(1), dlms.OctetString([]byte{1}), dlms.Int8(1), dlms.Uint16(1)),
			dlms.Null(), dlms.Null(), dlms.Array()),
	} {
		if got, err := ParseRangeDescriptor(Selection{SelectorRange, d}); err == nil {
			t.Errorf("%s: range %+v", d, got)
		}
		if got, err := ParseEntryDescriptor(Selection{SelectorEntry, d}); err == nil {
			t.Errorf("%s: entry %+v", d, got)
		}
	}
	good := EntryDescriptor{}.Selection()
	if _, err := ParseEntryDescriptor(Selection{SelectorRange, good.Parameters}); !errors.Is(err, ErrValue) {
		t.Errorf("entry under selector 1: want ErrValue, got %v", err)
	}
	if _, err := ParseRangeDescriptor(good); !errors.Is(err, ErrValue) {
		t.Errorf("range under selector 2: want ErrValue, got %v", err)
	}
}

// TestALongGetComesInBlocks puts the blocks of a load curve together. The form of the blocks is that of the public
// test suite of dlms-cosem (tests/test_xdlms/test_get.py): 0x049E raw bytes in all blocks but the last.
func TestALongGetComesInBlocks(t *testing.T) {
	row := dlms.Structure(dlms.OctetString(make([]byte, 12)), dlms.Uint8(6), dlms.Uint32(1517), dlms.Uint32(1620))
	rows := make([]dlms.Data, 0x05A0)
	for i := range rows {
		rows[i] = row
	}
	whole, err := dlms.Array(rows...).AppendBinary(nil)
	if err != nil || !bytes.HasPrefix(whole, unhex(t, "018205A0 0204 090C")) {
		t.Fatal(err)
	}
	const size = 0x049E
	var put []byte
	for n, left := uint32(1), whole; ; n++ {
		cut := min(size, len(left))
		sent := GetResponse{Kind: GetResponseBlock, ID: 0xC1, Block: Block{Last: cut == len(left), Number: n, Raw: left[:cut]}}
		b, err := sent.AppendBinary(nil)
		if err != nil || (n == 1 && !bytes.HasPrefix(b, unhex(t, "C402C1 00 00000001 00 82049E 018205A0"))) {
			t.Fatalf("% X, %v", b[:16], err)
		}
		got, err := ParseGetResponse(b)
		if err != nil || got.Block.Number != n || got.Block.Last != sent.Block.Last {
			t.Fatalf("block %d: %v", n, err)
		}
		put = append(put, got.Block.Raw...)
		if left = left[cut:]; got.Block.Last {
			break
		}
	}
	d, rest, err := dlms.ParseData(put)
	if err != nil || len(rest) != 0 || d.Len() != len(rows) || !d.At(1439).Equal(row) {
		t.Errorf("%d rows, %d bytes left, %v", d.Len(), len(rest), err)
	}
}

func TestALongGetOfAListComesInBlocks(t *testing.T) {
	want := []GetResult{{Data: dlms.Uint8(1)}, {Result: dlms.DataAccessReadWriteDenied}}
	b, err := AppendGetResults(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseGetResults(b)
	if err != nil || len(got) != 2 || !got[0].Data.Equal(want[0].Data) || got[1].Result != want[1].Result {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ParseGetResults(append(b, 0)); !errors.Is(err, ErrTrailing) {
		t.Errorf("want ErrTrailing, got %v", err)
	}
}

func TestServicesRefuseWhatTheStandardDoesNotHave(t *testing.T) {
	for in, want := range map[string]error{
		"C000C1":                               ErrValue,     // kinds that are not
		"C004C1 00000001":                      ErrValue,     //
		"C400C1":                               ErrValue,     //
		"C404C1":                               ErrValue,     //
		"C100C1":                               ErrValue,     //
		"C106C1":                               ErrValue,     //
		"C506C1":                               ErrValue,     //
		"C307C1":                               ErrValue,     //
		"C705C1":                               ErrValue,     //
		"C001C1 0001 00002B0100FF 02 01 00 00": ErrValue,     // selector 0
		"C401C1 02 00":                         ErrValue,     // neither data nor result
		"C401C1 01 00":                         ErrValue,     // success without data
		"C402C1 01 00000001 01 00":             ErrValue,     // the same in a block
		"C402C1 01 00000001 02 00":             ErrValue,     //
		"C701C1 00 01 02 00":                   ErrValue,     //
		"C003C1 84 7FFFFFFF 00":                ErrLength,    // lists that cannot be
		"C403C1 82 FFFF 0000":                  ErrLength,    //
		"C104C1 81 FF 00":                      ErrLength,    //
		"C505C1 84 7FFFFFFF":                   ErrLength,    //
		"C303C1 02 0046000060030AFF01":         ErrLength,    //
		"C703C1 84 7FFFFFFF 0000":              ErrLength,    //
		"C402C1 01 00000001 00 84 7FFFFFFF":    ErrTruncated, // raw data that is not there
		"C103C1 01 00000001 84 7FFFFFFF":       ErrTruncated, //
		"C2 01 0B07E50603040E091700FFC4 0001":  dlms.ErrDateTime,
		"0F 00000001 0D07E50603040E091700FFC40000 00": dlms.ErrDateTime,
		"0E 00 06 01":       ErrValue, // service 0
		"0E 14 06 01":       ErrValue, // service 20
		"D8 01 06 0000":     ErrTruncated,
		"D8 01 01 00000000": ErrTrailing,
		"01 01 0F" + strings.Repeat("00", 15) + "0000065F1F0400007E1F04B0": ErrLength, // a key of 15 bytes
		"01 00 00 00 06 5F1F 03 0000 7E1F 04B0":                            ErrValue,  // a conformance of 16 bits
		"01 00 00 00 06 5F1F 04 0100 7E1F 04B0":                            ErrValue,  // one unused bit
		"01 00 00 00 06 5E1F 04 0000 7E1F 04B0":                            ErrValue,  //
	} {
		if got, err := parseAny(unhex(t, in)); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v, %v", in, want, got, err)
		}
	}
}

// parseAny parses by the tag, as a receiver does.
func parseAny(b []byte) (appender, error) {
	tag, err := TagOf(b)
	if err != nil {
		return nil, err
	}
	for _, v := range vectors {
		// The first vector of a tag has the tag's parser.
		if b0, ok := firstByte(v.hex); ok && Tag(b0) == tag {
			return v.parse(b)
		}
	}
	return nil, ErrTag
}

func firstByte(s string) (byte, bool) {
	digits := "0123456789ABCDEF"
	hi, lo := strings.IndexByte(digits, s[0]), strings.IndexByte(digits, s[1])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func TestAppendRefusesKindsThatAreNot(t *testing.T) {
	for _, p := range []appender{
		GetRequest{},
		GetResponse{Kind: 4},
		SetRequest{Kind: 6},
		SetResponse{},
		ActionRequest{Kind: 7},
		ActionResponse{},
		Ciphered{Tag: TagGetRequest},
		Ciphered{Tag: TagGeneralGlo},
		GeneralCiphered{Ciphered: Ciphered{Tag: TagGloGetRequest}},
	} {
		if out, err := p.AppendBinary(nil); err == nil {
			t.Errorf("%+v was appended as % X", p, out)
		}
	}
	deep := dlms.Null()
	for range dlms.MaxDataDepth + 1 {
		deep = dlms.Array(deep)
	}
	for _, p := range []appender{
		GetResponse{Kind: GetResponseNormal, Result: GetResult{Data: deep}},
		GetResponse{Kind: GetResponseWithList, List: []GetResult{{Data: deep}}},
		GetRequest{Kind: GetRequestWithList, List: []Attribute{{Selection: Selection{1, deep}}}},
		SetRequest{Kind: SetRequestNormal, Value: deep},
		SetRequest{Kind: SetRequestWithList, Values: []dlms.Data{deep}},
		ActionRequest{Kind: ActionRequestNormal, HasParameters: true, Parameters: deep},
		ActionResponse{Kind: ActionResponseWithList, List: []ActionOutcome{{HasReturn: true, Return: GetResult{Data: deep}}}},
		EventNotification{Value: deep},
		DataNotification{Body: deep},
	} {
		if _, err := p.AppendBinary(nil); !errors.Is(err, dlms.ErrDataDepth) {
			t.Errorf("%T: want ErrDataDepth, got %v", p, err)
		}
	}
}

func TestActionReturningSuccessInsteadOfDataReturnsNothing(t *testing.T) {
	p, err := ParseActionResponse(unhex(t, "C701C1 00 01 01 00"))
	if err != nil || p.Outcome.HasReturn || p.Outcome.Result != dlms.ActionSuccess {
		t.Errorf("got %+v, %v", p, err)
	}
	if out, err := p.AppendBinary(nil); err != nil || !bytes.Equal(out, unhex(t, "C701C1 00 00")) {
		t.Errorf("got % X, %v", out, err)
	}
}

func TestInvokeIDHasItsBitsWhereTheStandardPutsThem(t *testing.T) {
	id := NewInvokeID(0x1F, true, false)
	if id != 0x4F || id.ID() != 15 || !id.Confirmed() || id.HighPriority() || id.String() != "0x4f" {
		t.Errorf("got %s", id)
	}
	if id := NewInvokeID(1, true, true); id != 0xC1 || !id.HighPriority() {
		t.Errorf("got %s", id)
	}
	if id := LongInvokeID(0xC0000001); id.ID() != 1 || !id.Confirmed() || !id.HighPriority() {
		t.Errorf("got %08X", uint32(id))
	}
}

func TestExceptionCarriesACounterOnlyWhereItIsAbout(t *testing.T) {
	e, err := ParseExceptionResponse(unhex(t, "D8 01 06 000001E5"))
	if err != nil || e.InvocationCounter != 485 ||
		e.Error() != "exception: service-not-allowed, invocation-counter-error, expected counter 485" {
		t.Errorf("got %v, %v", e, err)
	}
	e = ExceptionResponse{StateError: StateServiceUnknown, ServiceError: ServicePDUTooLong, InvocationCounter: 7}
	if out, err := e.AppendBinary(nil); err != nil || !bytes.Equal(out, unhex(t, "D8 02 04")) {
		t.Errorf("got % X, %v", out, err)
	}
	if e.Error() != "exception: service-unknown, pdu-too-long" {
		t.Errorf("got %s", e.Error())
	}
	c := ConfirmedServiceError{ConfirmedInitiate, ErrorClassInitiate, InitiateRefusedByVDEHandler}
	if c.Error() != "confirmed service error: service 1, initiate 4" {
		t.Errorf("got %s", c.Error())
	}
}

// Every form with a list, and every form with a block, that the standard has.
func TestEveryFormWithAListOrABlockGoesThereAndBack(t *testing.T) {
	attribute := Attribute{Ref: dlms.AttributeRef{Class: 3, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: 2}}
	selected := attribute
	selected.Selection = EntryDescriptor{FromEntry: 1, ToEntry: 2}.Selection()
	methods := []dlms.MethodRef{{Class: 70, Method: 1}, {Class: 9, Method: 1}}
	block := Block{Last: true, Number: 7, Raw: []byte{1, 2, 3}}
	list, two := []Attribute{attribute, selected}, []dlms.Data{dlms.Uint8(1), dlms.Structure(dlms.Null())}
	results := []GetResult{{Data: two[1]}, {Result: dlms.DataAccessReadWriteDenied}}
	outcomes := []ActionOutcome{{}, {Result: 3}, {HasReturn: true, Return: results[0]}, {HasReturn: true, Return: results[1]}}
	for _, v := range []struct {
		p     appender
		parse parser
	}{
		{GetRequest{Kind: GetRequestWithList, ID: 1, List: list}, parserOf(ParseGetRequest)},
		{GetRequest{Kind: GetRequestNext, ID: 1, Block: 7}, parserOf(ParseGetRequest)},
		{GetResponse{Kind: GetResponseWithList, ID: 1, List: results}, parserOf(ParseGetResponse)},
		{GetResponse{Kind: GetResponseBlock, ID: 1, Block: block}, parserOf(ParseGetResponse)},
		{GetResponse{Kind: GetResponseBlock, ID: 1, Block: Block{Last: true, Number: 1, Result: 15}}, parserOf(ParseGetResponse)},
		{SetRequest{Kind: SetRequestFirstBlock, ID: 1, Attribute: selected, Block: block}, parserOf(ParseSetRequest)},
		{SetRequest{Kind: SetRequestBlock, ID: 1, Block: block}, parserOf(ParseSetRequest)},
		{SetRequest{Kind: SetRequestWithList, ID: 1, List: list, Values: two}, parserOf(ParseSetRequest)},
		{SetRequest{Kind: SetRequestListWithFirstBlock, ID: 1, List: list, Block: block}, parserOf(ParseSetRequest)},
		{SetResponse{Kind: SetResponseBlock, ID: 1, Block: 7}, parserOf(ParseSetResponse)},
		{SetResponse{Kind: SetResponseLastBlock, ID: 1, Result: 3, Block: 7}, parserOf(ParseSetResponse)},
		{SetResponse{Kind: SetResponseLastBlockWithList, ID: 1, List: []dlms.DataAccessResult{0, 3}, Block: 7}, parserOf(ParseSetResponse)},
		{SetResponse{Kind: SetResponseWithList, ID: 1, List: []dlms.DataAccessResult{0, 3}}, parserOf(ParseSetResponse)},
		{ActionRequest{Kind: ActionRequestNext, ID: 1, Number: 7}, parserOf(ParseActionRequest)},
		{ActionRequest{Kind: ActionRequestWithList, ID: 1, Methods: methods, Values: two}, parserOf(ParseActionRequest)},
		{ActionRequest{Kind: ActionRequestFirstBlock, ID: 1, Method: methods[0], Block: block}, parserOf(ParseActionRequest)},
		{ActionRequest{Kind: ActionRequestListWithFirstBlock, ID: 1, Methods: methods, Block: block}, parserOf(ParseActionRequest)},
		{ActionRequest{Kind: ActionRequestBlock, ID: 1, Block: block}, parserOf(ParseActionRequest)},
		{ActionResponse{Kind: ActionResponseBlock, ID: 1, Block: block}, parserOf(ParseActionResponse)},
		{ActionResponse{Kind: ActionResponseWithList, ID: 1, List: outcomes}, parserOf(ParseActionResponse)},
		{ActionResponse{Kind: ActionResponseNext, ID: 1, Number: 7}, parserOf(ParseActionResponse)},
	} {
		in, err := v.p.AppendBinary(nil)
		if err != nil {
			t.Errorf("%+v: %v", v.p, err)
			continue
		}
		p, err := v.parse(in)
		if err != nil {
			t.Errorf("%+v: % X: %v", v.p, in, err)
			continue
		}
		out, err := p.AppendBinary(nil)
		if err != nil || !bytes.Equal(in, out) {
			t.Errorf("%+v: % X became %+v: % X, %v", v.p, in, p, out, err)
		}
	}
}

func TestListsInBlocksArePutTogether(t *testing.T) {
	two := []dlms.Data{dlms.Uint8(1), dlms.Structure(dlms.Null())}
	b, err := AppendValues(nil, two)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseValues(b); err != nil || len(got) != 2 || !got[1].Equal(two[1]) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseValues(append(b, 0)); !errors.Is(err, ErrTrailing) {
		t.Errorf("got %v", err)
	}
	b, err = AppendOutcomes(nil, []ActionOutcome{{Result: 3}, {HasReturn: true, Return: GetResult{Data: two[1]}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseOutcomes(b); err != nil || len(got) != 2 || got[0].Result != 3 || !got[1].Return.Data.Equal(two[1]) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseOutcomes(append(b, 0)); !errors.Is(err, ErrTrailing) {
		t.Errorf("got %v", err)
	}
}

func TestARefusedActionMayEndWithItsResult(t *testing.T) {
	p, err := ParseActionResponse([]byte{0xC7, 0x01, 0xC1, 0x04})
	if err != nil || p.Outcome.Result != dlms.ActionObjectUndefined || p.Outcome.HasReturn {
		t.Errorf("got %+v, %v", p, err)
	}
	for what, b := range map[string][]byte{
		"success without the octet behind it": {0xC7, 0x01, 0xC1, 0x00},
		"in a list":                           {0xC7, 0x03, 0xC1, 0x01, 0x04},
		"no result":                           {0xC7, 0x01, 0xC1},
	} {
		if p, err := ParseActionResponse(b); err == nil {
			t.Errorf("%s: got %+v", what, p)
		}
	}
}
