package keysfile

import (
	"fmt"
	"os"
	"path/filepath"
)

// replaceFile puts content at path so that after a crash at any moment the old file or the new one is there, whole:
// a temporary file in the same folder, its fsync, the rename, the fsync of the folder.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fillAndMove(f, path, content); err != nil {
		_ = os.Remove(f.Name()) // the error that led here is the one to report
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(dir)
}

func fillAndMove(f *os.File, path string, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
