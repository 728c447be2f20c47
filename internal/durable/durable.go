// Package durable keeps small state on disk so that a crash at any moment loses nothing that was said to be kept:
// files that are written whole or not at all, files of checked lines that grow, locks that end with their process. What it
// writes its owner alone can read.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrUnsure is returned where a file is in its place, and it is not known whether it is there after a power cut.
var ErrUnsure = errors.New("in place, perhaps not for good")

// unfinished ends the name of a file that is being written, which begins with a dot.
const unfinished = ".new"

// Unfinished reports whether a file of that name is what a crash has left of a Replace or a Create.
func Unfinished(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, unfinished)
}

// Replace puts content at path: after a crash at any moment the old file or the new one is there, whole.
func Replace(path string, content []byte) error {
	return ReplaceAt(path, content, anyway)
}

// ReplaceAt is Replace, and asks at before each step, with a name for it: a test of crashes returns an error there, and what
// is on the disk then is what a crash would have left.
func ReplaceAt(path string, content []byte, at func(point string) error) error {
	if err := put(path, content, at); err != nil {
		return err
	}
	if err := at("file, in place"); err != nil {
		return err
	}
	return sure(path)
}

// put is Replace but for the name, which is durable when the directory is.
func put(path string, content []byte, at func(point string) error) error {
	if err := at("file, before"); err != nil {
		return err
	}
	tmp, err := write(path, content)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := at("file, written"); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp))
	}
	return nil
}

// anyway is for who asks of no step.
func anyway(string) error { return nil }

// Create puts content at path, where no file may be: otherwise the error is fs.ErrExist. After a crash the file is there
// whole, or not at all.
func Create(path string, content []byte) error {
	tmp, err := write(path, content)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// A link refuses to replace, a rename does not.
	if err := errors.Join(os.Link(tmp, path), os.Remove(tmp)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return sure(path)
}

// write makes and syncs a file beside path, under another name.
func write(path string, content []byte) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+unfinished) // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func sure(path string) error {
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrUnsure, err)
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
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
