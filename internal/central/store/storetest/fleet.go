package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// Fleet fills a database with meters, 50 under a concentrator, with a CC_LAN each.
func Fleet(tb testing.TB, s *store.Store, meters int) {
	tb.Helper()
	const part, each = 5000, 50
	for from := 0; from < meters; from += part {
		err := s.Update(tb.Context(), func(ctx context.Context) error {
			var rows []vault.MeterRow
			var keys []vault.KeyRow
			for i := from; i < min(from+part, meters); i++ {
				m := title('M', i)
				rows = append(rows, vault.MeterRow{Title: m, Maker: "MSL", Batch: "1", Profile: "hardened", EnrolledAt: at})
				k := lanKey(m, 1, vault.Active)
				k.ActiveAt = at.Add(-time.Duration(i%1000) * time.Hour)
				keys = append(keys, k)
			}
			err := errors.Join(s.AddMeters(ctx, rows), s.AddKeys(ctx, keys))
			for i := 0; i < len(rows) && err == nil; i += each {
				d := deviceRow(title('D', (from+i)/each))
				n := (from + i) / each
				d.KEK.Fingerprint, d.MAC.Fingerprint = vault.Fingerprint{1, byte(n >> 16), byte(n >> 8), byte(n)}, vault.Fingerprint{2, byte(n >> 16), byte(n >> 8), byte(n)}
				var mine []dlms.SystemTitle
				for _, r := range rows[i:min(i+each, len(rows))] {
					mine = append(mine, r.Title)
				}
				err = s.AddDevice(ctx, d)
				if err == nil {
					_, err = s.AssignMeters(ctx, d.Title, mine)
				}
			}
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}
