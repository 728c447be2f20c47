// Package durable keeps small state on disk so that a crash at any moment loses nothing that was said to be kept:
// files that are replaced whole, and files of checked lines that grow.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Replace puts content at path: after a crash at any moment the old file or the new one is there, whole.
func Replace(path string, content []byte) error {
	if err := put(path, content); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// put is Replace but for the name, which is durable when the directory is.
func put(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that led here is the one to report
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Remove removes a file, durably. One that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
