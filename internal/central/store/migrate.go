package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// folders of the migrations; both have the same versions, and the same tables and columns at each.
var folders = map[goose.Dialect]string{
	goose.DialectSQLite3:  "migrations/sqlite",
	goose.DialectPostgres: "migrations/postgres",
}

// migrate brings the schema up to date, one transaction a step, so that a crash leaves a known version. A schema
// newer than this program is refused: it may hold states that this program would lose.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	p, err := migrator(db, dialect)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if current > target {
		return fmt.Errorf("%w: its schema is version %d, this program knows %d; use the newer program",
			ErrNewer, current, target)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

func migrator(db *sql.DB, dialect goose.Dialect) (*goose.Provider, error) {
	sub, err := fs.Sub(migrations, folders[dialect])
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(dialect, db, sub, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return p, nil
}
