package nvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/durable"
)

const (
	lockName = "lock"
	fileEnd  = ".nvm"
	notePerm = 0o600
	maxNote  = 4 << 20
)

// Folder holds the memories of a fleet, one file for each meter, and keeps other processes out.
type Folder struct {
	path string
	lock *os.File
}

// OpenFolder makes the folder where there is none, and locks it. What a crash left of unfinished files is removed.
func OpenFolder(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("meter memory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, notePerm)
	if err != nil {
		return nil, fmt.Errorf("meter memory: lock: %w", err)
	}
	ok, err := durable.TryLock(lock)
	if err == nil && !ok {
		err = fmt.Errorf("%w; stop it, or give this fleet a folder of its own", ErrInUse)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), lock.Close())
	}
	f := &Folder{path: path, lock: lock}
	if err := f.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("meter memory: %w", err), f.Close())
	}
	return f, nil
}

func (f *Folder) sweep() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if durable.Unfinished(e.Name()) {
			if err := os.Remove(filepath.Join(f.path, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Memory returns the memory of one meter, which comes to be with its first frame.
func (f *Folder) Memory(title dlms.SystemTitle) Memory {
	return &file{path: filepath.Join(f.path, title.String()+fileEnd)}
}

// Note reads a small file of the fleet, nil where there is none.
func (f *Folder) Note(name string) ([]byte, error) {
	b, err := durable.ReadPrivate(filepath.Join(f.path, name), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("meter memory: %w", err)
	}
	return b, nil
}

// SetNote writes a small file of the fleet, durably.
func (f *Folder) SetNote(name string, content []byte) error {
	if err := durable.Replace(filepath.Join(f.path, name), content); err != nil {
		return fmt.Errorf("meter memory: %w", err)
	}
	return nil
}

// Close unlocks the folder.
func (f *Folder) Close() error { return f.lock.Close() }
