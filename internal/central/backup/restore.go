package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/role"
)

// ActionRestored is a restore, in the audit log of what was restored.
const ActionRestored audit.Action = "vault.restored"

// Options of a restore.
type Options struct {
	// Backup is the directory that Make has made.
	Backup string
	// Journals are the key journals of all nodes, as they are now. They are read and not changed.
	Journals []string
	// RootFile is a copy of the root that was kept apart from the backup; the one in the backup when empty.
	RootFile   string
	Passphrase []byte
	// Token opens the token that the root names, for a vault that keeps its keys in one; nil refuses such a vault.
	Token func(root *vault.TokenRoot) (vault.Hold, error)
	// By is who restores, for the record.
	By  audit.Actor
	Now func() time.Time
	Log *slog.Logger // nil discards
	// Admit, if set, is asked before anything is put in its place whether this may be done: with the directory that has all
	// of it, and its database as it will be. It puts on record who stands for it.
	Admit func(ctx context.Context, stage string, db *store.Store, log *audit.Log) error
	// Progress, if set, is told how far a step is.
	Progress func(step string, done, all int)
	// At, if set, is called at each step, for a test of what a crash there leaves.
	At func(point string)
}

// Report says what was restored.
type Report struct {
	Manifest Manifest `json:"manifest"`
	vault.TakenOver
	// Sealed: a journal is lost, and the vault starts sealed.
	Sealed bool `json:"sealed"`
}

func (o Options) at(point string) {
	if o.At != nil {
		o.At(point)
	}
}

func (o Options) progress(step string) func(done, all int) {
	return func(done, all int) {
		if o.Progress != nil {
			o.Progress(step, done, all)
		}
	}
}

// Restore brings a backup back into the data directory data, takes over what the key journals have beyond it, and seals the
// vault if the journal of a node is not among them. Until all of that has worked nothing is in its place: whatever is
// refused, data stays as it is. A database that is there is never replaced. After a crash it is done over: what the crash
// has left is no hindrance, and is removed.
func Restore(ctx context.Context, o Options, data string) (r Report, err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	unlock, err := lock(data)
	if err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := sweep(data); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	for _, tail := range []string{"", "-wal", "-shm"} { // another database's would be taken for this one's
		if path := filepath.Join(data, store.FileName+tail); exists(path) {
			return r, fmt.Errorf("%w: %s: restore into a new directory, or move the old database away", ErrOccupied, path)
		}
	}
	if own := filepath.Join(data, vault.RootFile); o.RootFile == "" && exists(own) {
		o.RootFile = own // never older than the backup's
	}
	stage, err := os.MkdirTemp(data, stagePrefix+"*") // 0700, on the same disk
	if err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	o.at("begun")
	if r, err = o.stage(ctx, stage); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	if err := o.place(stage, data); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	return r, nil
}

// stagePrefix begins the names of the directories that a restore works in.
const stagePrefix = ".restore-"

// lock keeps two restores apart. The kernel drops it with the process.
func lock(data string) (unlock func() error, err error) {
	d, err := os.Open(filepath.Clean(data))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another restore is at work in %s: %w", data, err), d.Close())
	}
	return d.Close, nil
}

// sweep removes what restores have left that did not come to their end.
func sweep(data string) error {
	left, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), stagePrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(data, e.Name())))
		}
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// place moves what was restored to where it belongs, the database last: without it there is no central system.
func (o Options) place(stage, data string) error {
	root, err := vault.ReadRootFile(filepath.Join(stage, vault.RootFile))
	if err != nil {
		return err
	}
	defer clear(root)
	if err := vault.PlaceRoot(data, root); err != nil {
		return err
	}
	o.at("root in its place")
	if !exists(filepath.Join(data, TLSDir)) {
		if err := os.Rename(filepath.Join(stage, TLSDir), filepath.Join(data, TLSDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	o.at("certificates in their place")
	if err := os.Link(filepath.Join(stage, store.FileName), filepath.Join(data, store.FileName)); err != nil { // never replaces one
		return err
	}
	o.at("database in its place")
	return durable.SyncDir(data)
}

// stage restores into a directory of its own and checks all there is to check.
func (o Options) stage(ctx context.Context, dir string) (r Report, err error) {
	root, err := o.root(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if r.Manifest, err = Verify(o.Backup, root, o.progress("files verified")); err != nil {
		return r, err
	}
	o.at("root staged")
	if err := copyFile(filepath.Join(o.Backup, store.FileName), filepath.Join(dir, store.FileName)); err != nil {
		return r, err
	}
	if r.Manifest.has(tlsName) {
		if err := o.tls(dir, root); err != nil {
			return r, err
		}
	}
	o.at("files staged")
	db, err := store.Open(ctx, dir, store.Options{Log: o.Log})
	if err != nil {
		return r, err
	}
	o.at("database open")
	if err := errors.Join(o.takeOver(ctx, dir, db, root, &r), db.Close()); err != nil {
		return r, err
	}
	o.at("journals taken over")
	if _, err := os.Lstat(filepath.Join(dir, store.FileName+"-wal")); !errors.Is(err, os.ErrNotExist) {
		return r, errors.New("the database did not close: there is more of it than its file")
	}
	return r, nil
}

// root opens the root, which goes where the vault looks for it.
func (o Options) root(dir string) (vault.Hold, error) {
	path := o.RootFile
	if path == "" {
		path = filepath.Join(o.Backup, vault.RootFile)
	}
	b, err := vault.ReadRootFile(path)
	if o.RootFile == "" && errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoRoot
	}
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if err := vault.PlaceRoot(dir, b); err != nil {
		return nil, err
	}
	return vault.UnsealHold(dir, o.Passphrase, o.Token)
}

func (o Options) tls(dir string, root vault.Hold) error {
	f, err := os.Open(filepath.Join(o.Backup, tlsName))
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := root.Decrypt(f)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTampered, tlsName, err)
	}
	var files map[string][]byte
	if err := json.NewDecoder(io.LimitReader(plain, 4*maxTLS)).Decode(&files); err != nil {
		return fmt.Errorf("%w: %s", ErrTampered, tlsName)
	}
	to := filepath.Join(dir, TLSDir)
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for name, b := range files {
		if filepath.Base(name) != name {
			return fmt.Errorf("%w: %s holds a file called %q", ErrTampered, tlsName, name)
		}
		if err := writeFile(filepath.Join(to, name), b); err != nil {
			return err
		}
	}
	return durable.SyncDir(to)
}

// takeOver brings the database to what the journals have, and puts on record that it was restored.
func (o Options) takeOver(ctx context.Context, dir string, db *store.Store, root vault.Hold, r *Report) (err error) {
	log := audit.New(db, audit.Options{Now: o.Now})
	o.progress("key journals taken over")(0, len(o.Journals))
	if r.TakenOver, err = vault.TakeOver(ctx, root, db, log, o.Now, o.Journals); err != nil {
		return err
	}
	o.progress("key journals taken over")(len(o.Journals), len(o.Journals))
	if err := vault.CheckTerms(ctx, root, db); err != nil {
		return err
	}
	if err := opens(ctx, db, root); err != nil {
		return err
	}
	if o.Admit != nil {
		if err := o.Admit(ctx, dir, db, log); err != nil {
			return err
		}
	}
	r.Sealed = len(r.Lost) > 0
	if r.Sealed {
		err := vault.SealUp(ctx, db, log, o.By, vault.Seal{
			Since: o.Now().UTC(), Reason: "restored without its key journal from a backup of " + r.Manifest.MadeAt.Format(time.RFC3339), Lost: r.Lost,
		})
		if err != nil {
			return err
		}
	}
	return log.Append(ctx, audit.Entry{
		Actor: o.By, Action: ActionRestored, Phase: audit.Done, Outcome: "from a backup of " + r.Manifest.MadeAt.Format(time.RFC3339),
		Detail: map[string]string{
			"batches": strconv.Itoa(r.Batches), "journals_lost": strconv.Itoa(len(r.Lost)),
		},
	})
}

// sampleRows is how many rows a restore tries to open. A drill opens all.
const sampleRows = 40

// opens refuses a root under which nothing opens: a token can have keys of the names that the root file says, which are
// not the ones that the rows were sealed under.
func opens(ctx context.Context, db *store.Store, root vault.Hold) error {
	rows, err := db.KeyRowsAfter(ctx, role.KeyRef{}, sampleRows)
	if err != nil || len(rows) == 0 {
		return err
	}
	refused, err := check(root, rows)
	if err != nil || slices.Contains(refused, nil) {
		return err
	}
	return fmt.Errorf("%w: none of the first %d keys opens: %w", ErrOtherKeys, len(rows), refused[0])
}

// copyFile copies and syncs a file.
func copyFile(from, to string) (err error) {
	in, err := os.Open(filepath.Clean(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(filepath.Clean(to), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
