package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asMeterseal makes the test binary the program itself, so that the tests run real processes.
const asMeterseal = "METERSEAL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asMeterseal) != "" {
		main()
	}
	os.Exit(m.Run())
}

// rig runs command lines in a folder of its own.
type rig struct {
	t   *testing.T
	dir string
	// flags are added to every command line; said is all that the commands that have ended printed.
	flags []string
	// central is added to the configuration of a central system.
	central string
	said    *lockedBuffer
	as      string // whose certificate the command lines go by that do not say it
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, dir: t.TempDir(), said: new(lockedBuffer)}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r *rig) exists(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// private checks that nobody but the owner can open a file.
func (r *rig) private(names ...string) {
	r.t.Helper()
	for _, name := range names {
		info, err := os.Stat(r.path(name))
		if err != nil {
			r.t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			r.t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
}

func (r *rig) command(line string) *exec.Cmd {
	c := exec.Command(os.Args[0], append(strings.Fields(line), r.flags...)...)
	c.Dir = r.dir
	c.Env = append(os.Environ(), asMeterseal+"=1", "METERSEAL_AS="+r.as)
	return c
}

// outcome is what became of a command line.
type outcome struct {
	t           *testing.T
	line        string
	out, errOut string
}

// exits runs a command line, whose arguments hold no space, and checks the exit code.
func (r *rig) exits(code int, line string) *outcome {
	r.t.Helper()
	c := r.command(line)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = io.MultiWriter(&out, r.said), io.MultiWriter(&errOut, r.said)
	err := c.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		r.t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("meterseal %s: exit code %d, want %d\n%s%s", line, got, code, out.String(), errOut.String())
	}
	return &outcome{r.t, line, out.String(), errOut.String()}
}

func (r *rig) ok(line string) *outcome { r.t.Helper(); return r.exits(exitOK, line) }

func (o *outcome) check(what, text, pattern string, want bool) *outcome {
	o.t.Helper()
	if regexp.MustCompile("(?m)"+pattern).MatchString(text) != want {
		o.t.Errorf("meterseal %s: %s: match of %q is not %t in:\n%s", o.line, what, pattern, want, text)
	}
	return o
}

func (o *outcome) stdout(pattern string) *outcome {
	o.t.Helper()
	return o.check("stdout", o.out, pattern, true)
}

func (o *outcome) stderr(pattern string) *outcome {
	o.t.Helper()
	return o.check("stderr", o.errOut, pattern, true)
}

func (o *outcome) silent() *outcome { o.t.Helper(); return o.check("stdout", o.out, ".", false) }

// never checks that a text is in neither stream, whatever its case.
func (o *outcome) never(text string) *outcome {
	o.t.Helper()
	return o.check("output", o.out+o.errOut, "(?i)"+regexp.QuoteMeta(text), false)
}

// member returns a member of the JSON object on standard output.
func (o *outcome) member(name string) any {
	o.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(o.out), &v); err != nil {
		o.t.Fatalf("meterseal %s: standard output is not one JSON object: %v\n%s", o.line, err, o.out)
	}
	if _, ok := v[name]; !ok {
		o.t.Fatalf("meterseal %s: no %q in %s", o.line, name, o.out)
	}
	return v[name]
}

// server is a command that runs until it is stopped.
type server struct {
	t   *testing.T
	cmd *exec.Cmd
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a command and waits until it prints something that matches, whose groups it returns.
func (r *rig) serve(line, ready string) (*server, []string) {
	r.t.Helper()
	s := &server{r.t, r.command(line), new(lockedBuffer)}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.kill()
		}
		if r.t.Failed() {
			r.t.Logf("meterseal %s:\n%s", line, s.log)
		}
	})
	pattern := regexp.MustCompile(ready)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found := pattern.FindStringSubmatch(s.log.String()); found != nil {
			return s, found[1:]
		}
	}
	r.t.Fatalf("meterseal %s did not print %q", line, ready)
	return nil, nil
}

// kill ends it at once.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed, as it should be
}

// stop asks it to end, and checks that it does so in order.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("%v after SIGTERM", err)
	}
}

// closedPort returns a port that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
