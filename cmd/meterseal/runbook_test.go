//go:build integration

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A runbook is a page whose console blocks are what its reader does. The test does the same, line by line, in a real system
// of several processes:
//
//   - a line that begins with "$ " is given to a shell in the folder of the system, where meterseal is this program;
//   - the lines below it are what it shows, whole lines but for empty ones, in this order; "..." stands for any lines, "<name>" for any text,
//     which the commands after it can use;
//   - "[exit 1]" says that it fails; a block "console repeat" is repeated until it is as shown; the command of a block
//     "console background" goes on, and has shown what it says when the next one comes.
type runbook struct {
	*staff
	page    string
	central *server
	known   map[string]string
}

// runbooks is where the pages are.
const runbooks = "../../docs/runbooks"

type step struct {
	line    int
	command string
	shows   []string
	exit    int
	how     string // "", "repeat" or "background"
}

// readSteps reads the console blocks of a page.
func readSteps(text string) (out []step) {
	inside, how := false, ""
	for i, line := range strings.Split(text, "\n") {
		switch {
		case !inside && strings.HasPrefix(line, "```console"):
			inside, how = true, strings.TrimPrefix(strings.TrimPrefix(line, "```console"), " ")
		case inside && line == "```":
			inside = false
		case !inside:
		case strings.HasPrefix(line, "$ "):
			out = append(out, step{line: i + 1, command: line[2:], how: how})
		case len(out) > 0 && regexp.MustCompile(`^\[exit \d\]$`).MatchString(line):
			out[len(out)-1].exit = int(line[6] - '0')
		case len(out) > 0 && line != "":
			out[len(out)-1].shows = append(out[len(out)-1].shows, line)
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`<[a-z][a-z ]*>`)

// pattern is what a step shows, as a pattern with a group for each name that is not known yet.
func (b *runbook) pattern(shows []string) (p *regexp.Regexp, names []string) {
	var text strings.Builder
	text.WriteString(`^`)
	for _, line := range shows {
		if line == "..." {
			text.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		at := 0
		for _, m := range placeholder.FindAllStringIndex(line, -1) {
			text.WriteString(spaced(line[at:m[0]]))
			name := line[m[0]:m[1]]
			if v, ok := b.known[name]; ok {
				text.WriteString(regexp.QuoteMeta(v))
			} else {
				text.WriteString(`([^\n]+?)`)
				names = append(names, name)
			}
			at = m[1]
		}
		text.WriteString(spaced(line[at:]) + `[ \t]*\n`)
	}
	text.WriteString(`$`)
	return regexp.MustCompile(text.String()), names
}

// spaced takes columns as they come: how wide one is hangs on what is in the others.
func spaced(s string) string {
	return regexp.MustCompile(` +`).ReplaceAllString(regexp.QuoteMeta(s), ` +`)
}

// shell gives a command to a shell.
func (b *runbook) shell(command string) *exec.Cmd {
	c := exec.Command("sh", "-c", command)
	c.Dir = b.dir
	c.Env = append(os.Environ(), asMeterseal+"=1", "PATH="+b.path("bin")+":"+os.Getenv("PATH"))
	return c
}

// begin starts a command that goes on, and waits until it has shown what it does.
func (b *runbook) begin(s step) error {
	c, log := b.shell("exec "+s.command), new(lockedBuffer)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return err
	}
	b.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // killed, as it should be
	})
	p, _ := b.pattern(s.shows)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if p.MatchString(log.String()) {
			return nil
		}
	}
	return fmt.Errorf("want\n%s\ngot\n%s", strings.Join(s.shows, "\n"), log)
}

func (b *runbook) run(s step) error {
	command := placeholder.ReplaceAllStringFunc(s.command, func(name string) string {
		if v, ok := b.known[name]; ok {
			return v
		}
		return name
	})
	if s.how == "background" {
		s.command = command
		return b.begin(s)
	}
	c := b.shell(command)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	b.t.Logf("$ %s\n%s", command, &out)
	if got := c.ProcessState.ExitCode(); got != s.exit {
		return fmt.Errorf("exit code %d, want %d:\n%s", got, s.exit, &out)
	}
	p, names := b.pattern(s.shows)
	m := p.FindStringSubmatch(regexp.MustCompile(`\n\n+`).ReplaceAllString(out.String(), "\n"))
	if m == nil {
		return fmt.Errorf("want\n%s\ngot\n%s", strings.Join(s.shows, "\n"), &out)
	}
	for i, name := range names {
		b.known[name] = m[i+1]
	}
	return nil
}

// follow does what a page says.
func (b *runbook) follow() {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(runbooks, b.page))
	if err != nil {
		b.t.Fatal(err)
	}
	all := readSteps(string(text))
	if len(all) < 3 {
		b.t.Fatalf("%s: %d commands are found", b.page, len(all))
	}
	for _, s := range all {
		err := b.run(s)
		for deadline := time.Now().Add(60 * time.Second); s.how == "repeat" && err != nil && time.Now().Before(deadline); err = b.run(s) {
			time.Sleep(200 * time.Millisecond)
		}
		if err != nil {
			b.t.Fatalf("%s:%d: %s: %v", b.page, s.line, s.command, err)
		}
	}
}

// The titles that the pages use.
const (
	runbookStolen    = operatorDC
	runbookSuccessor = "4D534CC000000002"
)

// newRunbook is the system that the pages speak of: three meters under one concentrator, another one within reach, a terminal
// with a grant for one meter; oscar works it, carol and dave keep its keys.
func newRunbook(t *testing.T, page string) *runbook {
	t.Helper()
	return prepared(t, &staff{rig: newRig(t)}, page, "")
}

// prepared makes it, with further lines in the configuration and another text of the ceremony.
func prepared(t *testing.T, s *staff, page, config string, ceremony ...string) *runbook {
	t.Helper()
	b := &runbook{staff: s, page: page, known: map[string]string{}}
	s.write("bin/meterseal", "#!/bin/sh\nexec "+os.Args[0]+" \"$@\"\n")
	if err := os.Chmod(s.path("bin/meterseal"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("central.yaml", "data: is\njournal: journal/key.journal\npassphrase_file: root.passphrase\nsystem_title: 4D534C1500000001\nretry_min: 200ms\nretry_max: 1s\nlisten: "+closedPort(t)+"\n"+config)
	s.write("root.passphrase", "correct horse battery staple\n")
	text := strings.NewReplacer(append([]string{"/journal/", "journal/", `"scrypt_work": 18`, `"scrypt_work": 10`}, ceremony...)...)
	s.write("ceremony.json", text.Replace(s.ok("vault init --sample").out))
	s.ok("vault init ceremony.json --by alice --config central.yaml")
	to := s.ok("central init --config central.yaml --person oscar --json").member("recipient")
	for _, name := range []string{"carol", "dave"} {
		s.ok("central people add " + name + " --role key-custodian --config central.yaml --out " + name + ".pem")
	}
	s.write("meters.yaml", "factory: meters.age\nfactory_identity: factory.key\ndata: meters\nlan_listen: 127.0.0.1:0\nlocal_listen: 127.0.0.1:0\n")
	s.ok(fmt.Sprintf("maker shipment --count 3 --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", to))
	is, bus := s.serve("central --config central.yaml", `bus +(\S+)[^$]*central system is up`)
	b.central = is
	_, at := s.serve("meter --config meters.yaml", strings.Repeat(`meter (\S+)  wrapper (\S+)  hdlc (\S+)\n`, 3))
	for i := 0; i < len(at); i += 3 {
		s.meters, s.lan, s.local = append(s.meters, at[i]), append(s.lan, at[i+1]), append(s.local, at[i+2])
	}
	s.knowsMaker("--data is")
	s.ok("central import shipment.jsonl --data is").stdout("3 imported")
	for i, title := range []string{runbookStolen, runbookSuccessor} {
		name := fmt.Sprintf("dc%d", i+1)
		s.write(name+".yaml", fmt.Sprintf("data: %s\nis_url: %s\nis_ca: is/tls/ca.pem\nlan: [%q, %q, %q]\nrediscover: 1s\n", name, bus[0], s.lan[0], s.lan[1], s.lan[2]))
		s.enrol(fmt.Sprintf("concentrator init --config %s.yaml --title %s --recipient %s --out %s.json", name, title, to, name), name+".json")
		s.serve("concentrator --config "+name+".yaml", "concentrator "+title)
	}
	s.enrol(fmt.Sprintf("terminal init --data tsp --title %s --recipient %s --out tsp.json", operatorTSP, to), "tsp.json")
	s.ok("central assign " + runbookStolen + " --unassigned 0 --data is").stdout("^3 meters are under")
	s.soon("central provision "+runbookStolen+" --data is", "holds 3 keys")
	s.ok("central grant " + operatorTSP + " " + s.meters[0] + " --for 8h --data is")
	s.ok("vault backup backup-monday --config central.yaml")
	return b
}

// rollcall proves that no meter was lost.
func (b *runbook) rollcall() {
	b.t.Helper()
	b.soon("central rollcall --config central.yaml", "^3 meters answered, 0 did not")
}

func TestTheRunbookOfAStolenConcentrator(t *testing.T) {
	b := newRunbook(t, "stolen-concentrator.md")
	b.follow()
	b.rollcall()
}

func TestTheRunbookOfALostTerminal(t *testing.T) {
	b := newRunbook(t, "lost-terminal.md")
	b.follow()
	b.exits(exitFailed, "terminal read --data tsp --grant grant.json --connect "+b.local[0]+" --meter "+b.meters[0]).silent()
	b.rollcall()
}

func TestTheRunbookOfACopiedDatabase(t *testing.T) {
	b := newRunbook(t, "copied-database.md")
	b.follow()
	b.rollcall()
}

// TestEveryRunbookIsExecuted finds a page that no test follows.
func TestEveryRunbookIsExecuted(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range tests {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	for _, p := range pages {
		if name := filepath.Base(p); name != "README.md" && !strings.Contains(text.String(), `"`+name+`"`) {
			t.Errorf("%s: no test follows it", name)
		}
	}
}
