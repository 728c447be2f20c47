package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/meterseal/meterseal/dlms"
)

// Options of New.
type Options struct {
	// Signer signs checkpoints; its name is the log's origin. Without one, there are no checkpoints.
	Signer note.Signer
	// Now is the clock, time.Now by default.
	Now func() time.Time
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger
	// Turn, if set, is asked before each round of Run: of several systems on one store only one numbers the entries. The
	// context that it returns is what the round writes with.
	Turn func(ctx context.Context) (round context.Context, mine bool, err error)
	// Interval is how often Run numbers new entries, 1 s by default.
	Interval time.Duration
}

// Log is the audit log of one central system. It is safe for concurrent use.
type Log struct {
	store Store
	o     Options
}

// New returns the log kept in store.
func New(store Store, o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	return &Log{store: store, o: o}
}

// Append writes entries in one commit, or as a part of the caller's Update. Entries without a time get the clock's. Entries
// that say the same of several keys become one record that names all of them.
func (l *Log) Append(ctx context.Context, entries ...Entry) error { return l.Later(entries...)(ctx) }

// manyEntries are worth a goroutine.
const manyEntries = 1000

// Later returns what appends entries as Append does. Many entries are encoded meanwhile; the caller does not touch them.
func (l *Log) Later(entries ...Entry) func(ctx context.Context) error {
	rows := sync.OnceValues(func() ([]Row, error) { return l.rows(entries) })
	if len(entries) >= manyEntries {
		go func() { _, _ = rows() }() // whoever appends them gets the error
	}
	return func(ctx context.Context) error {
		rows, err := rows()
		if err != nil || len(rows) == 0 {
			return err
		}
		err = l.store.Update(ctx, func(ctx context.Context) error { return l.store.AppendAudit(ctx, rows) })
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		return nil
	}
}

// rows encodes entries.
func (l *Log) rows(entries []Entry) ([]Row, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	recs := records(entries, l.o.Now().UTC().Truncate(time.Microsecond))
	rows := make([]Row, len(recs))
	for i, r := range recs {
		var err error
		if rows[i], err = r.row(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// List reads entries, for a person to look at: one for each key of a record, all with the record's number. It proves
// nothing: see Export and Verify.
func (l *Log) List(ctx context.Context, f Filter) ([]Row, error) {
	records, err := l.store.ListAudit(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]Row, 0, len(records))
	for _, r := range records {
		rows, err := r.split(f.Meter)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

// sequenceBatch is how many entries are numbered in one commit.
const sequenceBatch = 500

// Sequence numbers all committed entries that have no leaf yet and returns how many those were. Only one caller
// at a time does any work: the commit of a second one starts from what the first one left.
func (l *Log) Sequence(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := l.sequenceSome(ctx)
		total += n
		if err != nil || n < sequenceBatch {
			return total, err
		}
	}
}

func (l *Log) sequenceSome(ctx context.Context) (n int, err error) {
	err = l.store.Update(ctx, func(ctx context.Context) error {
		rows, err := l.store.UnnumberedAudit(ctx, sequenceBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		n = len(rows)
		return l.number(ctx, rows)
	})
	if err != nil {
		return 0, fmt.Errorf("audit: number entries: %w", err)
	}
	return n, nil
}

func (l *Log) number(ctx context.Context, rows []Row) error {
	size, err := l.store.AuditSize(ctx)
	if err != nil {
		return err
	}
	first := tlog.StoredHashCount(size)
	fresh := freshHashes{first: first, ctx: ctx, store: l.store}
	leaves := make([]Leaf, len(rows))
	for i, r := range rows {
		n := size + int64(i)
		hashes, err := tlog.StoredHashes(n, r.Body, &fresh)
		if err != nil {
			return err
		}
		fresh.hashes = append(fresh.hashes, hashes...)
		leaves[i] = Leaf{N: n, ID: r.ID}
	}
	if err := l.store.SaveAuditMentions(ctx, mentions(rows)); err != nil {
		return err
	}
	return l.store.SaveAuditLeaves(ctx, leaves, first, fresh.hashes)
}

// mentions lists, for each meter that records of several keys name, which records those are.
func mentions(rows []Row) []Mention {
	at := map[dlms.SystemTitle]int{}
	var out []Mention
	for _, r := range rows {
		for meters := r.Meters; len(meters) >= len(dlms.SystemTitle{}); meters = meters[len(dlms.SystemTitle{}):] {
			m := dlms.SystemTitle(meters[:len(dlms.SystemTitle{})])
			i, known := at[m]
			if !known {
				i = len(out)
				at[m], out = i, append(out, Mention{Meter: m})
			}
			out[i].IDs = append(out[i].IDs, r.ID)
		}
	}
	slices.SortFunc(out, func(a, b Mention) int { return bytes.Compare(a.Meter[:], b.Meter[:]) })
	return out
}

// freshHashes reads stored hashes, those of the batch at hand from memory.
type freshHashes struct {
	first  int64
	hashes []tlog.Hash
	ctx    context.Context //nolint:containedctx // lives for one call of number; the tlog interface has no context
	store  Store
}

// ReadHashes implements tlog.HashReader.
func (f *freshHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var old []int64
	for i, idx := range indexes {
		if idx < f.first {
			old = append(old, idx)
			continue
		}
		if idx-f.first >= int64(len(f.hashes)) {
			return nil, fmt.Errorf("audit: hash %d is not there yet", idx)
		}
		out[i] = f.hashes[idx-f.first]
	}
	if len(old) == 0 {
		return out, nil
	}
	stored, err := f.store.AuditHashes(f.ctx, old)
	if err != nil {
		return nil, err
	}
	for i, idx := range indexes {
		if idx < f.first {
			out[i], stored = stored[0], stored[1:]
		}
	}
	return out, nil
}

// Round numbers new entries if it is this system's turn.
func (l *Log) Round(ctx context.Context) error {
	if l.o.Turn != nil {
		round, mine, err := l.o.Turn(ctx)
		if err != nil || !mine {
			return err
		}
		ctx = round
	}
	_, err := l.Sequence(ctx)
	return err
}

// Run numbers new entries until ctx ends. An error of one round is logged and the next round tries again: the
// entries themselves are in the table already.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := l.Round(ctx); err != nil && !errors.Is(err, context.Canceled) {
				l.o.Log.Error("audit entries not numbered", "error", err)
			}
		}
	}
}
