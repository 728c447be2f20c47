package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

func TestABackupIsTheDatabaseOfThatMomentForItsOwnerAlone(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "is"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "restored")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	node := dlms.SystemTitle{'M', 'S', 'I', 1}
	if err := s.Update(t.Context(), func(ctx context.Context) error { return s.AddNode(ctx, node, time.Unix(1, 0)) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), path); err == nil {
		t.Error("a backup was written over")
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", i, err)
	}
	restored, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if got, err := restored.TitleKinds(t.Context(), []dlms.SystemTitle{node}); err != nil || len(got) != 1 {
		t.Errorf("titles: %v, %v", got, err)
	}
}
