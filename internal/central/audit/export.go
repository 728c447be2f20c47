package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// Schema names the form of an export: JSON lines, a head, one line a record, a tail with the checkpoint.
const Schema = "meterseal audit 1"

type exportHead struct {
	Schema string `json:"schema"`
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
}

// exportRecord carries the hash as well, so that a reader can name the record that was changed and not only say
// that one was.
type exportRecord struct {
	N     int64           `json:"n"`
	Hash  tlog.Hash       `json:"hash"`
	Entry json.RawMessage `json:"entry"`
}

type exportTail struct {
	Checkpoint string `json:"checkpoint"`
}

// exportBatch is how many records are read at a time.
const exportBatch = 1000

// Export numbers what is not numbered yet and writes the whole log with a signed checkpoint over it. It returns
// the number of records.
func (l *Log) Export(ctx context.Context, w io.Writer) (n int64, err error) {
	if l.o.Signer == nil {
		return 0, ErrNoSigner
	}
	if _, err := l.Sequence(ctx); err != nil {
		return 0, err
	}
	buf := bufio.NewWriter(w)
	err = l.store.View(ctx, func(ctx context.Context) error {
		if n, err = l.store.AuditSize(ctx); err != nil {
			return err
		}
		return l.export(ctx, json.NewEncoder(buf), n)
	})
	if err != nil {
		return 0, fmt.Errorf("audit export: %w", err)
	}
	return n, buf.Flush()
}

func (l *Log) export(ctx context.Context, out *json.Encoder, size int64) error {
	if err := out.Encode(exportHead{Schema: Schema, Origin: l.o.Signer.Name(), Size: size}); err != nil {
		return err
	}
	for first := int64(0); first < size; {
		leaves, err := l.store.AuditLeaves(ctx, first, exportBatch)
		if err != nil {
			return err
		}
		if len(leaves) == 0 {
			return fmt.Errorf("record %d is missing", first)
		}
		for _, leaf := range leaves {
			r := exportRecord{N: leaf.N, Hash: tlog.RecordHash(leaf.Body), Entry: leaf.Body}
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		first = leaves[len(leaves)-1].N + 1
	}
	msg, err := l.checkpointAt(ctx, size)
	if err != nil {
		return err
	}
	return out.Encode(exportTail{Checkpoint: string(msg)})
}
