package decode_test

import (
	"encoding/json"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/decode"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
)

const (
	fuzzNodes = 4096
	fuzzDepth = 200
)

func fuzzKeys(f *testing.F) decode.Keys {
	f.Helper()
	b := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	k := decode.Keys{Title: dlms.SystemTitle{'M', 'M', 'M', 0, 0, 0xBC, 0x61, 0x4E}}
	var errs [4]error
	k.Unicast, errs[0] = key.NewUnicast(b)
	k.Broadcast, errs[1] = key.NewUnicast(b)
	k.Dedicated, errs[2] = key.NewDedicated(b)
	k.Master, errs[3] = key.NewMaster(b)
	for _, err := range errs {
		if err != nil {
			f.Fatal(err)
		}
	}
	return k
}

// FuzzDecode decodes arbitrary bytes with and without keys: no panic, a bounded tree whose ranges lie within their
// buffers, and output of both forms.
func FuzzDecode(f *testing.F) {
	for _, v := range dlmstest.LoadVectors(f, "testdata") {
		f.Add(v.Bytes(f, "bytes"))
	}
	for _, seed := range plainAPDUs {
		f.Add(unhex(seed))
	}
	k := fuzzKeys(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, keys := range [][]decode.Keys{nil, {k}} {
			tree := decode.Decode(b, decode.Options{Keys: keys, MaxNodes: fuzzNodes})
			checkTree(t, tree, len(b), 0)
			count := 0
			tree.Walk(func(*decode.Node) bool { count++; return true })
			if count > fuzzNodes+1 {
				t.Fatalf("%d nodes", count)
			}
			if j, err := json.Marshal(tree); err != nil || !json.Valid(j) {
				t.Fatalf("json: %v", err)
			}
			_ = tree.String()
			// A compact array is expanded here and carried as it is there.
			if bad := tree.FirstError(); bad != nil && bad.Type != "compact-array" && parses(b) {
				t.Fatalf("apdu takes it, decode does not:\n%s", tree)
			}
		}
	})
}

func checkTree(t *testing.T, n *decode.Node, size, depth int) {
	if n.Offset < 0 || n.Size < 0 || n.Offset+n.Size > size {
		t.Fatalf("%s: %d bytes at %d of %d", n.Name, n.Size, n.Offset, size)
	}
	if depth > fuzzDepth {
		t.Fatal("too deep")
	}
	if n.Secret && n.Bytes != nil {
		t.Fatalf("%s: a secret with bytes", n.Name)
	}
	if n.Buffer != nil {
		size = len(n.Buffer)
	}
	for _, c := range n.Children {
		checkTree(t, c, size, depth+1)
	}
}

// parses reports whether b is exactly one plain APDU for the strict parsers, with nothing inside that they leave to
// others: no user information and no block.
func parses(b []byte) bool {
	tag, err := apdu.TagOf(b)
	if err != nil {
		return false
	}
	parsers := map[apdu.Tag]func() (bool, error){
		apdu.TagAARQ:                  func() (bool, error) { v, err := apdu.ParseAARQ(b); return v.UserInformation == nil, err },
		apdu.TagAARE:                  func() (bool, error) { v, err := apdu.ParseAARE(b); return v.UserInformation == nil, err },
		apdu.TagRLRQ:                  func() (bool, error) { v, err := apdu.ParseRLRQ(b); return v.UserInformation == nil, err },
		apdu.TagRLRE:                  func() (bool, error) { v, err := apdu.ParseRLRE(b); return v.UserInformation == nil, err },
		apdu.TagInitiateRequest:       func() (bool, error) { _, err := apdu.ParseInitiateRequest(b); return true, err },
		apdu.TagInitiateResponse:      func() (bool, error) { _, err := apdu.ParseInitiateResponse(b); return true, err },
		apdu.TagConfirmedServiceError: func() (bool, error) { _, err := apdu.ParseConfirmedServiceError(b); return true, err },
		apdu.TagExceptionResponse:     func() (bool, error) { _, err := apdu.ParseExceptionResponse(b); return true, err },
		apdu.TagDataNotification:      func() (bool, error) { _, err := apdu.ParseDataNotification(b); return true, err },
		apdu.TagEventNotification:     func() (bool, error) { _, err := apdu.ParseEventNotification(b); return true, err },
		apdu.TagGetRequest:            func() (bool, error) { _, err := apdu.ParseGetRequest(b); return true, err },
		apdu.TagSetResponse:           func() (bool, error) { _, err := apdu.ParseSetResponse(b); return true, err },
		apdu.TagGetResponse:           func() (bool, error) { v, err := apdu.ParseGetResponse(b); return v.Block.Raw == nil, err },
		apdu.TagSetRequest:            func() (bool, error) { v, err := apdu.ParseSetRequest(b); return v.Block.Raw == nil, err },
		apdu.TagActionRequest:         func() (bool, error) { v, err := apdu.ParseActionRequest(b); return v.Block.Raw == nil, err },
		apdu.TagActionResponse:        func() (bool, error) { v, err := apdu.ParseActionResponse(b); return v.Block.Raw == nil, err },
	}
	p := parsers[tag]
	if p == nil {
		return false
	}
	whole, err := p()
	return whole && err == nil
}
