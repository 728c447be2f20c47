package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrTampered is returned for an export that is not what was signed.
var ErrTampered = errors.New("audit: tampered")

// maxLine bounds a line of an export: an entry, its number and hash.
const maxLine = MaxEntry + 512

// VerifyOptions of Verify.
type VerifyOptions struct {
	// Trusted is the log's public key, from somewhere else than the export.
	Trusted PublicKey
	// Known are earlier heads (of OpenCheckpoint): the export must still have each of them as its beginning. They
	// find a log that was cut short and signed again.
	Known []tlog.Tree
	// Each, where set, is called with every record in order, before the whole is known to be genuine; once for each key
	// where a record names several.
	Each func(n int64, e Entry) error
}

// Verify reads an export, offline, in constant memory, and says whether it is what the log signed: no record
// changed, removed, added or reordered. It returns the verified head.
func Verify(r io.Reader, o VerifyOptions) (tlog.Tree, error) {
	v := verifier{in: bufio.NewReaderSize(r, maxLine), o: o}
	tree, err := v.run()
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("audit verify: %w", err)
	}
	return tree, nil
}

type verifier struct {
	in   *bufio.Reader
	o    VerifyOptions
	edge []tlog.Hash // roots of the perfect subtrees, largest first, of the n records read
	n    int64
}

func (v *verifier) run() (tlog.Tree, error) {
	var head exportHead
	if err := v.line(&head); err != nil {
		return tlog.Tree{}, fmt.Errorf("head: %w", err)
	}
	if head.Schema != Schema || head.Origin != v.o.Trusted.Name() || head.Size < 0 {
		return tlog.Tree{}, fmt.Errorf("head: want schema %q of %q, got %q of %q",
			Schema, v.o.Trusted.Name(), head.Schema, head.Origin)
	}
	if err := v.known(); err != nil {
		return tlog.Tree{}, err
	}
	for v.n < head.Size {
		if err := v.record(); err != nil {
			return tlog.Tree{}, err
		}
	}
	return v.tail()
}

func (v *verifier) record() error {
	var r exportRecord
	if err := v.line(&r); err != nil {
		return fmt.Errorf("record %d: %w", v.n, err)
	}
	if r.N != v.n || len(r.Entry) == 0 {
		return fmt.Errorf("%w: record %d stands where record %d belongs", ErrTampered, r.N, v.n)
	}
	hash := tlog.RecordHash(r.Entry)
	if hash != r.Hash {
		return fmt.Errorf("%w: record %d was changed", ErrTampered, v.n)
	}
	v.add(hash)
	if v.o.Each != nil {
		var e Entry
		if err := json.Unmarshal(r.Entry, &e); err != nil {
			return fmt.Errorf("record %d: %w", r.N, err)
		}
		for _, one := range e.Each() {
			if err := v.o.Each(r.N, one); err != nil {
				return err
			}
		}
	}
	return v.known()
}

// add appends a leaf: two perfect subtrees of one size make one of twice the size.
func (v *verifier) add(leaf tlog.Hash) {
	v.edge = append(v.edge, leaf)
	for range bits.TrailingZeros64(^uint64(v.n)) {
		last := len(v.edge) - 1
		v.edge[last-1] = tlog.NodeHash(v.edge[last-1], v.edge[last])
		v.edge = v.edge[:last]
	}
	v.n++
}

func (v *verifier) root() tlog.Hash {
	if len(v.edge) == 0 {
		empty, _ := tlog.TreeHash(0, nil)
		return empty
	}
	root := v.edge[len(v.edge)-1]
	for i := len(v.edge) - 2; i >= 0; i-- {
		root = tlog.NodeHash(v.edge[i], root)
	}
	return root
}

func (v *verifier) known() error {
	for _, k := range v.o.Known {
		if k.N == v.n && k.Hash != v.root() {
			return fmt.Errorf("%w: the first %d records are not those of the earlier checkpoint", ErrTampered, k.N)
		}
	}
	return nil
}

func (v *verifier) tail() (tlog.Tree, error) {
	var tail exportTail
	if err := v.line(&tail); err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	tree, err := OpenCheckpoint([]byte(tail.Checkpoint), v.o.Trusted)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if tree.N != v.n || tree.Hash != v.root() {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint is over %d records with another content than these %d",
			ErrTampered, tree.N, v.n)
	}
	for _, k := range v.o.Known {
		if k.N > tree.N {
			return tlog.Tree{}, fmt.Errorf("%w: %d records, an earlier checkpoint had %d", ErrTampered, tree.N, k.N)
		}
	}
	if _, err := v.in.ReadByte(); !errors.Is(err, io.EOF) {
		return tlog.Tree{}, fmt.Errorf("%w: something follows the checkpoint", ErrTampered)
	}
	return tree, nil
}

func (v *verifier) line(into any) error {
	b, err := v.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("%w: a line is longer than %d bytes", ErrTampered, maxLine)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file ends too early", ErrTampered)
	case err != nil:
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if dec.More() {
		return fmt.Errorf("%w: two values on one line", ErrTampered)
	}
	return nil
}
