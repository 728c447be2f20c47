package store

import (
	"context"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

func TestLaw4CountersOfTheStoreNeverFall(t *testing.T) {
	s := open(t, t.TempDir())
	meter, own := dlms.SystemTitle{'M', 'S', 'L', 1}, dlms.SystemTitle{'M', 'S', 'I', 1}
	ref := role.KeyRef{Meter: meter, Role: role.CCIS, Version: 1}
	update := func(fn func(ctx context.Context) error) {
		t.Helper()
		if err := s.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(ctx context.Context) error {
		if err := s.AddMeters(ctx, []vault.MeterRow{{Title: meter}}); err != nil {
			return err
		}
		return s.AddKeys(ctx, []vault.KeyRow{{Ref: ref, State: vault.Active, Sealed: []byte{1}, MAC: []byte{1}}})
	})
	for _, c := range []struct{ ceiling, raised, last uint32 }{{100, 5, 7}, {64, 9, 3}, {50, 0, 1}} {
		update(func(ctx context.Context) error {
			if err := s.RaiseReceiveFloor(ctx, vault.FloorRow{Ref: ref, Title: meter, Last: c.last}); err != nil {
				return err
			}
			return s.RaiseSendCounters(ctx, []vault.CounterRow{{Ref: ref, Title: own, Ceiling: c.ceiling, Raised: c.raised}})
		})
	}
	got, err := s.SendCounters(t.Context(), own, []role.KeyRef{ref})
	if err != nil || got[ref].Ceiling != 100 || got[ref].Raised != 9 {
		t.Fatalf("want ceiling 100 and 9 raised, got %+v, %v", got[ref], err)
	}
	floors, err := s.ReceiveFloors(t.Context(), ref)
	if err != nil || len(floors) != 1 || floors[0].Last != 7 {
		t.Fatalf("want 7, got %+v, %v", floors, err)
	}
}
