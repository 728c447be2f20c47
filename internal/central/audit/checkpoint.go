package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrNoSigner is returned where a checkpoint is wanted of a log without a signing key.
var ErrNoSigner = errors.New("audit: no signing key")

// Checkpoint returns the signed head of the tree over all numbered entries, in the form of a signed note
// (c2sp.org/tlog-checkpoint): origin, size, root hash in base64, signature.
func (l *Log) Checkpoint(ctx context.Context) (msg []byte, err error) {
	err = l.store.View(ctx, func(ctx context.Context) error {
		size, err := l.store.AuditSize(ctx)
		if err != nil {
			return err
		}
		msg, err = l.checkpointAt(ctx, size)
		return err
	})
	return msg, err
}

func (l *Log) checkpointAt(ctx context.Context, size int64) ([]byte, error) {
	if l.o.Signer == nil {
		return nil, ErrNoSigner
	}
	root, err := tlog.TreeHash(size, &freshHashes{first: tlog.StoredHashCount(size), ctx: ctx, store: l.store})
	if err != nil {
		return nil, fmt.Errorf("audit: tree of %d: %w", size, err)
	}
	text := checkpointText(l.o.Signer.Name(), tlog.Tree{N: size, Hash: root})
	return note.Sign(&note.Note{Text: text}, l.o.Signer)
}

func checkpointText(origin string, t tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, t.N, base64.StdEncoding.EncodeToString(t.Hash[:]))
}

// OpenCheckpoint verifies a checkpoint against the key that the reader trusts.
func OpenCheckpoint(msg []byte, trusted PublicKey) (tlog.Tree, error) {
	n, err := openNote(msg, trusted)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("audit checkpoint: %w", err)
	}
	return parseCheckpoint(n.Text, trusted.Name())
}

func parseCheckpoint(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("audit checkpoint: want origin %q, size and hash, each on its line", origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("audit checkpoint: size %q is not a number", lines[1])
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(hash) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("audit checkpoint: want a root hash of %d bytes", tlog.HashSize)
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(hash)}, nil
}
