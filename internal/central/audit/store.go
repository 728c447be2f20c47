package audit

import (
	"context"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/meterseal/meterseal/dlms"
)

// Row is an entry as it is stored: its bytes, and beside them what it is searched by.
type Row struct {
	ID     int64
	At     time.Time
	Actor  Actor
	Action Action
	Meter  dlms.SystemTitle // zero: none, or several
	Meters []byte           // the titles of several, one after the other
	Body   []byte
}

// Mention says which records of several keys name a meter.
type Mention struct {
	Meter dlms.SystemTitle
	IDs   []int64 // rising
}

// Leaf is a numbered entry.
type Leaf struct {
	N    int64
	ID   int64
	Body []byte
}

// Filter selects entries for reading. The zero value selects all.
type Filter struct {
	Meter  dlms.SystemTitle
	Action Action
	After  int64 // only records with a greater id
	Limit  int   // how many records; 0: 1,000
	// Newest lists the newest entries first; After is then an upper bound, 0 for none.
	Newest bool
}

// Hash is a hash of the tree.
type Hash = tlog.Hash

// Store is what the log needs of the database. Writes happen inside Update and join the caller's.
type Store interface {
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	View(ctx context.Context, fn func(ctx context.Context) error) error

	AppendAudit(ctx context.Context, rows []Row) error
	// ListAudit returns records as they were appended. Those of a meter are found whether they name it alone or among
	// others, and whether they were numbered or not.
	ListAudit(ctx context.Context, f Filter) ([]Row, error)
	// SaveAuditMentions notes, together with the leaves, which of the numbered records name which meters.
	SaveAuditMentions(ctx context.Context, ms []Mention) error

	// UnnumberedAudit returns committed entries without a leaf, oldest first.
	UnnumberedAudit(ctx context.Context, limit int) ([]Row, error)
	// AuditSize is the number of leaves.
	AuditSize(ctx context.Context) (int64, error)
	// SaveAuditLeaves adds leaves and the stored hashes from index first on.
	SaveAuditLeaves(ctx context.Context, leaves []Leaf, first int64, hashes []Hash) error
	// AuditHashes reads stored hashes by index, all of them or an error.
	AuditHashes(ctx context.Context, indexes []int64) ([]Hash, error)
	// AuditLeaves reads leaves from number first on.
	AuditLeaves(ctx context.Context, first int64, limit int) ([]Leaf, error)
}
