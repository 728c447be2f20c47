package bus

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
)

func compactMessages() ([]Order, []Reply) {
	at := time.Date(2026, 11, 3, 4, 5, 6, 789, time.UTC)
	meters := []dlms.SystemTitle{titleOf(1), titleOf(2)}
	orders := []Order{
		{ID: "a", NotAfter: at, Relay: &Relay{Meter: titleOf(1), ClientSAP: 64, ServerSAP: 1, APDU: []byte{0x60, 0, 0xFF}}},
		{ID: strings.Repeat("f", maxID), NotAfter: at, Claim: &Claim{Meters: meters, Until: at.Add(time.Minute)}},
		{ID: "b", NotAfter: at, Release: &Release{Meters: meters}},
	}
	replies := []Reply{
		{ID: "a", Relay: &RelayResult{APDU: []byte{0x61, 0, 0xFF}}},
		{ID: strings.Repeat("f", maxID), Claim: &ClaimResult{Meters: meters}},
		{ID: "b"},
	}
	return orders, replies
}

func TestRelaysAndClaimsHaveACompactFormThatSaysTheSame(t *testing.T) {
	orders, replies := compactMessages()
	for _, o := range orders {
		b, err := encodeOrder(&o)
		var got Order
		if err != nil || b[0] == '{' || decodeOrder(b, &got) != nil {
			t.Fatalf("%s: got %x, %v", o.Kind(), b, err)
		}
		if diff := cmp.Diff(o, got); diff != "" {
			t.Errorf("%s: %s", o.Kind(), diff)
		}
		again, err := encodeOrder(&got)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%s: got %x, want %x", o.Kind(), again, b)
		}
	}
	for _, r := range replies {
		b, err := encodeReply(&r)
		var got Reply
		if err != nil || b[0] == '{' || decodeReply(b, &got) != nil {
			t.Fatalf("%s: got %x, %v", r.ID, b, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestWhatHasNoPlaceInTheCompactFormIsJSON(t *testing.T) {
	far := time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, o := range []Order{
		{ID: "a", NotAfter: far, Release: &Release{}},
		{ID: "a", NotAfter: far.AddDate(-500, 0, 0), Claim: &Claim{Until: far}},
		{ID: "a", NotAfter: far.AddDate(-500, 0, 0), Status: &Status{}},
	} {
		b, err := encodeOrder(&o)
		var got Order
		if err != nil || b[0] != '{' || decodeOrder(b, &got) != nil {
			t.Fatalf("got %x, %v", b, err)
		}
		if diff := cmp.Diff(o, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, r := range []Reply{
		{ID: "a", Fault: fault(FaultUnknown, "?")}, {ID: "a", Fault: fault(FaultUnknown, "?"), Relay: &RelayResult{}}, {ID: "a", Status: &StatusResult{}},
	} {
		if b, err := encodeReply(&r); err != nil || b[0] != '{' {
			t.Errorf("got %x, %v", b, err)
		}
	}
}

// TestACompactMessageThatIsCutOrTooLongIsRefused cuts each message at each place. Where an APDU or a list of meters is cut
// there is less of it, which is a message too: the form has no length of its own, the bus has.
func TestACompactMessageThatIsCutOrTooLongIsRefused(t *testing.T) {
	orders, replies := compactMessages()
	fixed := []int{1 + 2 + 8 + 12, 1 + 1 + maxID + 16, 1 + 2 + 8}
	for i, o := range orders {
		b, _ := encodeOrder(&o)
		for n := range len(b) {
			var got Order
			err := decodeOrder(b[:n], &got)
			whole := n >= fixed[i] && (i == 0 || (n-fixed[i])%8 == 0)
			if whole != (err == nil) || err != nil && !errors.Is(err, ErrMessage) {
				t.Errorf("%s cut to %d of %d: got %v", o.Kind(), n, len(b), err)
			}
		}
	}
	for _, r := range replies {
		b, _ := encodeReply(&r)
		var got Reply
		if err := decodeReply(b[:2], &got); len(r.ID) > 0 && !errors.Is(err, ErrMessage) {
			t.Errorf("%x: got %v", b[:2], err)
		}
	}
	b, _ := encodeReply(&replies[2])
	for _, data := range [][]byte{append(b, 0), {0}, {formDone + 1}, append([]byte{formRelay}, make([]byte, MaxMessage)...)} {
		if err := decodeReply(data, &Reply{}); !errors.Is(err, ErrMessage) {
			t.Errorf("%.20x: got %v", data, err)
		}
		if err := decodeOrder(data, &Order{}); !errors.Is(err, ErrMessage) {
			t.Errorf("%.20x: got %v", data, err)
		}
	}
}
