package nvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/meterseal/meterseal/internal/durable"
)

// maxFile bounds what is read of one meter's file, in bytes. A memory is compacted long before.
const maxFile = 16 << 20

// file is the memory of one meter in a folder. It holds no descriptor between two writes, so that a process may serve
// more meters than it may open files.
type file struct {
	path string
	size int // where the good frames end; what is behind it is cut off before the next write
	dirt bool
	open bool // loaded: an append before would put one frame in the place of all
	dead bool
}

func (f *file) Load(take func([]byte) error) error {
	b, err := durable.ReadPrivate(f.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		f.open = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("meter memory: %w", err)
	}
	defer clear(b)
	end, err := scan(b, take)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.size, f.dirt, f.open = end, end < len(b), true
	return nil
}

func (f *file) Append(content []byte, durable bool) error {
	if f.dead || !f.open {
		return ErrBroken
	}
	if f.size == 0 {
		return f.Replace([][]byte{content})
	}
	b, err := appendFrame(nil, f.size, content, durable)
	if err != nil {
		return err
	}
	defer clear(b)
	if err := f.write(b, durable); err != nil {
		return fmt.Errorf("meter memory: append: %w", err)
	}
	f.size += len(b)
	return nil
}

// write puts b at the end of the good frames. When it fails, what is on disk is not known: the file is cut back to
// where it was or, where even that fails, given up.
func (f *file) write(b []byte, durable bool) (err error) {
	w, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if f.dirt {
		if err := errors.Join(w.Truncate(int64(f.size)), w.Sync()); err != nil {
			return err
		}
		f.dirt = false
	}
	if _, err := w.WriteAt(b, int64(f.size)); err != nil {
		if cut := errors.Join(w.Truncate(int64(f.size)), w.Sync()); cut != nil {
			f.dead = true
		}
		return err
	}
	if !durable {
		return nil
	}
	if err := w.Sync(); err != nil {
		f.dead = true // the kernel may have dropped the pages: a second sync that succeeds would prove nothing
		return err
	}
	return nil
}

func (f *file) Replace(frames [][]byte) error {
	if f.dead || !f.open {
		return ErrBroken
	}
	b := []byte(formatLine)
	defer func() { clear(b) }()
	for _, c := range frames {
		var err error
		if b, err = appendFrame(b, len(b), c, true); err != nil {
			return err
		}
	}
	if err := durable.Replace(f.path, b); err != nil {
		f.dead = errors.Is(err, durable.ErrUnsure) // which of the two files a power cut would leave is not known
		return fmt.Errorf("meter memory: replace: %w", err)
	}
	f.size, f.dirt = len(b), false
	return nil
}

func (f *file) Size() int { return f.size }

func (f *file) Close() error { return nil }
