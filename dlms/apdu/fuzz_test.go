package apdu

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// fuzz holds that parse never panics, that what it accepts in canonical form is appended as it came, and that what
// it accepts in one of the other forms listed in the package documentation becomes canonical.
func fuzz[T appender](f *testing.F, parse func([]byte) (T, error), read func(*wire.Reader) T) {
	f.Helper()
	for _, v := range vectors {
		if in := unhex(f, v.hex); accepts(parse, in) {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := parse(in)
		if err != nil {
			return
		}
		checkStable(t, parserOf(parse), in)
		r := wire.NewReader(in)
		read(&r)
		if out, err := p.AppendBinary(nil); !r.Lax() && (err != nil || !bytes.Equal(out, in)) {
			t.Errorf("% X became % X, %v", in, out, err)
		}
	})
}

func accepts[T any](parse func([]byte) (T, error), in []byte) bool {
	_, err := parse(in)
	return err == nil
}

func FuzzParseAARQ(f *testing.F) { fuzz(f, ParseAARQ, readAARQ) }
func FuzzParseAARE(f *testing.F) { fuzz(f, ParseAARE, readAARE) }

func FuzzParseRLRQ(f *testing.F) {
	fuzz(f, ParseRLRQ, func(r *wire.Reader) RLRQ { return RLRQ{readRelease(r, TagRLRQ)} })
}

func FuzzParseRLRE(f *testing.F) {
	fuzz(f, ParseRLRE, func(r *wire.Reader) RLRE { return RLRE{readRelease(r, TagRLRE)} })
}

func FuzzParseInitiateRequest(f *testing.F)  { fuzz(f, ParseInitiateRequest, readInitiateRequest) }
func FuzzParseInitiateResponse(f *testing.F) { fuzz(f, ParseInitiateResponse, readInitiateResponse) }

func FuzzParseConfirmedServiceError(f *testing.F) {
	fuzz(f, ParseConfirmedServiceError, readConfirmedServiceError)
}

func FuzzParseExceptionResponse(f *testing.F) { fuzz(f, ParseExceptionResponse, readExceptionResponse) }

func FuzzParseCiphered(f *testing.F) {
	fuzz(f, ParseCiphered, func(r *wire.Reader) (c Ciphered) { c.read(r); return c })
}
func FuzzParseGeneralCiphered(f *testing.F)  { fuzz(f, ParseGeneralCiphered, readGeneralCiphered) }
func FuzzParseGeneralCiphering(f *testing.F) { fuzz(f, ParseGeneralCiphering, readGeneralCiphering) }
func FuzzParseBlockTransfer(f *testing.F)    { fuzz(f, ParseBlockTransfer, readBlockTransfer) }
func FuzzParseGetRequest(f *testing.F) {
	fuzz(f, ParseGetRequest, func(r *wire.Reader) (q GetRequest) { q.read(r); return q })
}

func FuzzParseGetResponse(f *testing.F) {
	fuzz(f, ParseGetResponse, func(r *wire.Reader) (p GetResponse) { p.read(r); return p })
}
func FuzzParseSetRequest(f *testing.F)        { fuzz(f, ParseSetRequest, readSetRequest) }
func FuzzParseSetResponse(f *testing.F)       { fuzz(f, ParseSetResponse, readSetResponse) }
func FuzzParseActionRequest(f *testing.F)     { fuzz(f, ParseActionRequest, readActionRequest) }
func FuzzParseActionResponse(f *testing.F)    { fuzz(f, ParseActionResponse, readActionResponse) }
func FuzzParseEventNotification(f *testing.F) { fuzz(f, ParseEventNotification, readEventNotification) }

func FuzzParseDataNotification(f *testing.F) { fuzz(f, ParseDataNotification, readDataNotification) }

// results makes an appender of a list of results.
type results []GetResult

func (l results) AppendBinary(dst []byte) ([]byte, error) { return AppendGetResults(dst, l) }

func FuzzParseGetResults(f *testing.F) {
	f.Add([]byte{2, 0, 0x11, 1, 1, 3})
	fuzz(f, func(b []byte) (results, error) {
		l, err := ParseGetResults(b)
		return l, err
	}, func(r *wire.Reader) results { return readResults(r) })
}

type values []dlms.Data

func (l values) AppendBinary(dst []byte) ([]byte, error) { return AppendValues(dst, l) }

func FuzzParseValues(f *testing.F) {
	f.Add([]byte{2, 0x11, 1, 0})
	fuzz(f, func(b []byte) (values, error) {
		l, err := ParseValues(b)
		return l, err
	}, func(r *wire.Reader) values { return readValues(r, "") })
}

type outcomes []ActionOutcome

func (l outcomes) AppendBinary(dst []byte) ([]byte, error) { return AppendOutcomes(dst, l) }

func FuzzParseOutcomes(f *testing.F) {
	f.Add([]byte{2, 0, 1, 0, 0x11, 1, 3, 0})
	fuzz(f, func(b []byte) (outcomes, error) {
		l, err := ParseOutcomes(b)
		return l, err
	}, func(r *wire.Reader) outcomes { return readOutcomes(r) })
}

// FuzzParseSelection takes a request's selection apart, and puts it together again.
func FuzzParseSelection(f *testing.F) {
	for _, v := range vectors {
		if in := unhex(f, v.hex); accepts(ParseGetRequest, in) {
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := ParseGetRequest(in)
		if err != nil {
			return
		}
		s := q.Attribute.Selection
		if d, err := ParseRangeDescriptor(s); err == nil && !d.Selection().Parameters.Equal(s.Parameters) {
			t.Errorf("%s became %s", s.Parameters, d.Selection().Parameters)
		}
		if d, err := ParseEntryDescriptor(s); err == nil && !d.Selection().Parameters.Equal(s.Parameters) {
			t.Errorf("%s became %s", s.Parameters, d.Selection().Parameters)
		}
		if c, err := ParseColumns(s.Parameters); err == nil && !columnsData(c).Equal(s.Parameters) {
			t.Errorf("%s became %v", s.Parameters, c)
		}
		if c, err := ParseColumn(s.Parameters); err == nil && !c.Data().Equal(s.Parameters) {
			t.Errorf("%s became %v", s.Parameters, c)
		}
	})
}
