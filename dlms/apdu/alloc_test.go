package apdu

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
)

// The hot path of a head-end and of a fleet of simulated meters: no allocation for the APDU itself.
func TestTheHotPathDoesNotAllocate(t *testing.T) {
	request := unhex(t, vectorNamed(t, "get-request-normal"))
	response := unhex(t, "C401C1 00 090C 07E50603040E091700FFC400")
	ciphered := unhex(t, vectorNamed(t, "glo-initiate-response"))
	dst := make([]byte, 0, 256)
	value := make([]byte, 100)
	for name, run := range map[string]func() error{
		"parse get-request": func() error {
			q, err := ParseGetRequest(request)
			if err == nil {
				dst, err = q.AppendBinary(dst[:0])
			}
			return err
		},
		"parse get-response": func() error {
			p, err := ParseGetResponse(response)
			if err == nil {
				dst, err = p.AppendBinary(dst[:0])
			}
			return err
		},
		"append get-response": func() (err error) {
			p := GetResponse{Kind: GetResponseNormal, ID: 0xC1, Result: GetResult{Data: dlms.OctetString(value)}}
			dst, err = p.AppendBinary(dst[:0])
			return err
		},
		"append block": func() (err error) {
			p := GetResponse{Kind: GetResponseBlock, ID: 0xC1, Block: Block{Number: 1, Raw: value}}
			dst, err = p.AppendBinary(dst[:0])
			return err
		},
		"ciphered": func() error {
			c, err := ParseCiphered(ciphered)
			if err == nil {
				dst, err = c.AppendBinary(dst[:0])
			}
			return err
		},
		"set and action": func() error {
			q := ActionRequest{Kind: ActionRequestNormal, HasParameters: true, Parameters: dlms.OctetString(value)}
			var err error
			if dst, err = q.AppendBinary(dst[:0]); err != nil {
				return err
			}
			_, err = ParseActionRequest(dst)
			return err
		},
	} {
		if n := testing.AllocsPerRun(200, func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A list says how many elements it has before they come: what is allocated may not follow what is said.
func TestListsAllocateInProportionToTheirInput(t *testing.T) {
	// 60,000 results announced in 120,000 bytes, of which the first is already wrong.
	hostile := append(unhex(t, "C403C1 82 EA60 00 07"), make([]byte, 120000)...)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := ParseGetResponse(hostile); err == nil {
				b.Fatal("a list of unknown types was parsed")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > int64(len(hostile)) {
		t.Errorf("%d bytes allocated for %d", allocated, len(hostile))
	}
}

func BenchmarkAppendGetResponse(b *testing.B) {
	p := GetResponse{Kind: GetResponseNormal, ID: 0xC1, Result: GetResult{Data: dlms.OctetString(make([]byte, 100))}}
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = p.AppendBinary(dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseGetRequest(b *testing.B) {
	in := unhex(b, vectorNamed(b, "get-request-normal"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseGetRequest(in); err != nil {
			b.Fatal(err)
		}
	}
}
