package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/meterseal/meterseal/internal/central/vault"
)

// Inspection is what a database file says of itself.
type Inspection struct {
	SchemaVersion int64
	// Places is how far the key journal of each node was taken over.
	Places       map[string]vault.Position
	Meters, Keys int
	// Terms counts the rows under each term of the root; Rotation is its newest rotation, as vault.ParseRotation takes it.
	Terms    map[uint32]int
	Rotation []byte
}

// ErrDamaged is returned for a database file that is not sound.
var ErrDamaged = errors.New("store: the database file is damaged")

// Inspect reads a backup of an SQLite database without changing it, and checks that it is sound.
func Inspect(ctx context.Context, path string) (in Inspection, err error) {
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return in, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil || verdict != "ok" {
		return in, fmt.Errorf("%w: %s %w", ErrDamaged, verdict, err)
	}
	err = db.QueryRowContext(ctx, `SELECT (SELECT max(version_id) FROM goose_db_version WHERE is_applied = 1),
		(SELECT count(*) FROM meters), (SELECT count(*) FROM keys)`).Scan(&in.SchemaVersion, &in.Meters, &in.Keys)
	if err != nil {
		return in, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	file := &Store{database: &database{engine: &sqliteEngine{reader: sqliteSession{db: db}}}}
	if in.Places, err = file.JournalPlaces(ctx); err != nil {
		return in, err
	}
	if in.Terms, err = file.TermCounts(ctx); err != nil {
		return in, err
	}
	in.Rotation, err = file.VaultState(ctx, vault.StateRotation)
	return in, err
}
