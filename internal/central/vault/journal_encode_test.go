package vault

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/internal/role"
)

// TestTheJournalIsWrittenAsJSONWouldBe also fails when a row of a key gets a field that the journal leaves out.
func TestTheJournalIsWrittenAsJSONWouldBe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := func(name string) time.Time {
			return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(rt, name)).UTC()
		}
		k := KeyRow{
			Ref:   role.KeyRef{Role: rapid.SampledFrom([]role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS}).Draw(rt, "role"), Version: rapid.Uint32().Draw(rt, "version")},
			Suite: rapid.Uint8().Draw(rt, "suite"), Term: rapid.Uint32().Draw(rt, "term"),
			Sealed: rapid.SliceOf(rapid.Byte()).Draw(rt, "sealed"), MAC: rapid.SliceOf(rapid.Byte()).Draw(rt, "mac"),
			State: rapid.SampledFrom([]State{Pending, Sent, Active, Superseded, Abandoned}).Draw(rt, "state"), CreatedAt: at("created"), ActiveAt: at("active"),
		}
		copy(k.Ref.Meter[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(rt, "meter"))
		copy(k.Fingerprint[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "fingerprint"))
		records := []record{
			{Meter: &MeterRow{Title: k.Ref.Meter, Batch: rapid.String().Draw(rt, "batch")}},
			{Key: &k},
			{State: &StateChange{Ref: k.Ref, State: k.State}},
			{Key: &KeyRow{}},
		}
		want, err := json.Marshal(records)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := appendRecords(nil, records)
		if err != nil || string(got) != string(want) {
			rt.Fatalf("got  %s\nwant %s\n%v", got, want, err)
		}
	})
	full := reflect.ValueOf(KeyRow{})
	if n := full.NumField(); n != 12 {
		t.Errorf("a row has %d fields: see that the journal has them all", n)
	}
}
