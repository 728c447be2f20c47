// Package pgtest starts a real PostgreSQL, to be thrown away, for tests and benchmarks: a cluster in a temporary folder,
// from Debian's binaries, reached over a Unix socket, with fsync and synchronous_commit on. One cluster serves all the
// tests of a package, each with a database of its own:
//
//	var cluster pgtest.Cluster
//
//	func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }
//
//	func TestX(t *testing.T) { s, err := store.Open(t.Context(), t.TempDir(), store.Options{URL: cluster.Database(t)}) … }
//
// A machine without PostgreSQL fails these tests, with the line that installs it; it does not skip them.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing is returned on a machine without PostgreSQL's programs.
var ErrMissing = errors.New("PostgreSQL is not installed: type `make setup`, or `apt-get install -y --no-install-recommends postgresql` as root")

// programs is where Debian puts a version's programs.
const programs = "/usr/lib/postgresql/*/bin"

// How long the server may take to begin and to end.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
)

// Cluster is one server. The zero value starts with its first use.
type Cluster struct {
	mu      sync.Mutex
	dir     string // its folder: data and socket
	bin     string
	as      *syscall.Credential // whom it runs as; nil: as we do
	server  *exec.Cmd
	exited  chan struct{}
	count   int
	started error
}

// Main runs the tests of a package and stops the cluster behind them.
func (c *Cluster) Main(m *testing.M) int {
	code := m.Run()
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err) //nolint:forbidigo // the end of a test binary: nobody else is left to tell
		return max(code, 1)
	}
	return code
}

// Database makes an empty database, dropped at the end of the test, and returns its URL. The test fails if that is not
// possible.
func (c *Cluster) Database(tb testing.TB) string {
	tb.Helper()
	name, err := c.create(tb.Context())
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := c.drop(name); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return c.url(name)
}

// Keep makes an empty database that stays until Stop, for what several tests share, and returns its URL.
func (c *Cluster) Keep(ctx context.Context) (url string, err error) {
	name, err := c.create(ctx)
	if err != nil {
		return "", fmt.Errorf("pgtest: %w", err)
	}
	return c.url(name), nil
}

// PID is the process of the server, 0 if there is none. Those of its sessions are its children.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil || c.server.Process == nil {
		return 0
	}
	return c.server.Process.Pid
}

// drop removes a database, with whatever is still connected to it.
func (c *Cluster) drop(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return c.execLocked(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
}

func (c *Cluster) execLocked(ctx context.Context, query string) error {
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, query)
	return errors.Join(err, conn.Close(ctx))
}

func (c *Cluster) create(ctx context.Context) (name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.startLocked(ctx); err != nil {
		return "", err
	}
	c.count++
	name = fmt.Sprintf("test%d", c.count)
	return name, c.execLocked(ctx, "CREATE DATABASE "+name)
}

func (c *Cluster) url(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {c.dir}, "user": {"meterseal"}}.Encode()}
	return u.String()
}

// Crash ends the server as a power cut ends a machine's processes, and starts it again on what the disk has.
func (c *Cluster) Crash(tb testing.TB) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		tb.Fatal("pgtest: no server to crash")
	}
	if err := errors.Join(c.endLocked(syscall.SIGQUIT), c.serveLocked(tb.Context())); err != nil {
		tb.Fatalf("pgtest: crash: %v", err)
	}
}

// Stop ends the server and removes its folder.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.server != nil {
		err = c.endLocked(syscall.SIGINT)
	}
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
		c.dir = ""
	}
	return err
}

func (c *Cluster) startLocked(ctx context.Context) error {
	if c.server != nil || c.started != nil {
		return c.started
	}
	c.started = c.initLocked(ctx)
	if c.started == nil {
		c.started = c.serveLocked(ctx)
	}
	return c.started
}

// initLocked makes the folder and the cluster in it. PostgreSQL refuses to run as root, so that as root it gets another
// user; its folder then lies straight in the temporary folder, which that user can enter.
func (c *Cluster) initLocked(ctx context.Context) (err error) {
	found, err := filepath.Glob(filepath.Join(programs, "initdb"))
	if err != nil || len(found) == 0 {
		return errors.Join(ErrMissing, err)
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	c.bin = filepath.Dir(found[len(found)-1])
	if c.as, err = another(); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "meterseal-pg-"); err != nil {
		return err
	}
	if c.as != nil {
		if err := os.Chown(c.dir, int(c.as.Uid), int(c.as.Gid)); err != nil {
			return err
		}
	}
	cmd := c.command(ctx, "initdb", "-D", c.data(), "-U", "meterseal", "-E", "UTF8", "--locale=C",
		"--auth=trust", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// version is the number in /usr/lib/postgresql/15/bin/initdb.
func version(initdb string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	if err != nil {
		return 0
	}
	return n
}

// another returns whom to run the server as: nobody else, unless we are root.
func another() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // nil is "as we do"
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if errU == nil && errG == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	return cmd
}

// serveLocked starts the server and waits until it answers. The server dies with this process: the kernel tells it when
// the thread that started it ends, which therefore waits for it.
func (c *Cluster) serveLocked(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := c.command(context.WithoutCancel(ctx), "postgres", "-D", c.data(), "-k", c.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
		"-c", "recovery_init_sync_method=syncfs", "-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB", "-c", "logging_collector=off")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	begun, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		begun <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		_ = log.Close()
		close(exited)
	}()
	if err := <-begun; err != nil {
		return err
	}
	c.server, c.exited = cmd, exited
	return c.awaitLocked(ctx)
}

func (c *Cluster) awaitLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.exited:
			c.server = nil
			return c.withLog("the server ended", err)
		case <-ctx.Done():
			return errors.Join(c.withLog("the server does not answer", err), c.endLocked(syscall.SIGQUIT))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) withLog(what string, cause error) error {
	log, err := os.ReadFile(filepath.Join(c.dir, "log"))
	return fmt.Errorf("%s: %w\n%s", what, errors.Join(cause, err), log)
}

func (c *Cluster) endLocked(signal syscall.Signal) error {
	cmd := c.server
	c.server = nil
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(errors.New("PostgreSQL did not end and was killed"), cmd.Process.Kill())
	}
}
