package lab

import (
	"errors"
	"io/fs"
	"os"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
)

// people lets the people of the lab in, once, and has each of them call with their own certificate.
func (w *world) people(c central.Config, d central.Deps) error {
	for _, p := range []struct {
		name string
		role access.Role
		as   **api.Client
	}{
		{"operations", access.Operator, &w.api},
		{"fieldwork", access.FieldManager, &w.field},
		{"audit", access.Auditor, &w.auditor},
		{"maker-msl", access.Maker, &w.factory},
	} {
		if _, err := os.Stat(access.PersonFile(c.Data, p.name)); errors.Is(err, fs.ErrNotExist) {
			if err := central.MakePeople(w.ctx, c, d, map[string][]access.Role{p.name: {p.role}}); err != nil {
				return err
			}
		}
		id, err := access.FindIdentity(c.Data, p.name, "")
		if err != nil {
			return err
		}
		*p.as = api.NewClient(api.Target{Data: c.Data, As: id})
	}
	return nil
}
