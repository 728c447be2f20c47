//go:build integration

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/terminal"
)

// tap stands in a wire and keeps all that goes over it, in clear.
type tap struct {
	t  *testing.T
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *tap) bytes() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.b.Bytes())
}

// between listens, and joins each who connects with at.
func (p *tap) between(at string, join func(client, server net.Conn) error) string {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", at)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() {
				_ = join(c, s) // ends with the connection
				_, _ = c.Close(), s.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// copies carries bytes both ways until one end is closed.
func (p *tap) copies(c, s io.ReadWriter) error {
	done := make(chan error, 2)
	go func() { _, err := io.Copy(io.MultiWriter(s, p), c); done <- err }()
	go func() { _, err := io.Copy(io.MultiWriter(c, p), s); done <- err }()
	return <-done
}

// line taps a line in clear.
func (p *tap) line(at string) string {
	return p.between(at, func(c, s net.Conn) error { return p.copies(c, s) })
}

// bus taps the bus with the certificate of its server: the first line of the protocol is in clear, then both ends speak TLS.
func (p *tap) bus(url, dir string) string {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		p.t.Fatal(err)
	}
	return "tls://" + p.between(strings.TrimPrefix(url, "tls://"), func(c, s net.Conn) error {
		info, err := bufio.NewReaderSize(oneLine{s}, 1).ReadBytes('\n')
		if err != nil {
			return err
		}
		if _, err := c.Write(info); err != nil {
			return err
		}
		own := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
		to := tls.Client(s, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		return p.copies(own, to)
	})
}

// oneLine reads byte by byte, so that nothing behind the line is taken.
type oneLine struct{ net.Conn }

func (o oneLine) Read(b []byte) (int, error) { return o.Conn.Read(b[:1]) }

// memory is all that a process has in memory that it can write: heaps, stacks, data.
func memory(t *testing.T, pid int) []byte {
	t.Helper()
	return memoryIn(t, pid, func(int64, bool) bool { return true })
}

// goHeap is what the Go runtime has of it, on 64-bit Linux: its arenas have no name and lie below those of C, of libraries
// and of threads, which the kernel puts from 0x7e... on.
func goHeap(t *testing.T, pid int) []byte {
	t.Helper()
	return memoryIn(t, pid, func(from int64, named bool) bool { return !named && from >= 1<<32 && from < 0x7e0000000000 })
}

func memoryIn(t *testing.T, pid int, wanted func(from int64, named bool) bool) []byte {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var out []byte
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var may string
		if n, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &may); n != 3 || err != nil || !strings.HasPrefix(may, "rw") || !wanted(from, len(strings.Fields(line)) > 5) {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, from) // a page that was never touched reads short
		out = append(append(out, b[:n]...), make([]byte, 64)...)
	}
	if len(out) < 1<<20 {
		t.Fatalf("process %d: only %d bytes of memory", pid, len(out))
	}
	return out
}

// held are the keys that meters have and had, as their own memories tell them.
func held(t *testing.T, dir string, meters []string) map[string][]byte {
	t.Helper()
	folder, err := nvm.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	out := map[string][]byte{}
	for _, m := range meters {
		title, err := dlms.ParseSystemTitle(m)
		if err != nil {
			t.Fatal(err)
		}
		err = folder.Memory(title).Load(func(frame []byte) error {
			for len(frame) >= 2 { // kind, length, body: 2 is CCC, 3 a key with role, generation and time before it
				body := frame[2 : 2+int(frame[1])]
				switch frame[0] {
				case 2:
					out[m+" CCC"] = bytes.Clone(body)
				case 3:
					out[fmt.Sprintf("%s %s v%d", m, role.Role(body[0]), body[4])] = bytes.Clone(body[13:])
				}
				frame = frame[2+int(frame[1]):]
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// rootKeys are the keys of a root that is in clear.
func rootKeys(t *testing.T, path string) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Terms []struct{ Wrap, MAC string }
		Audit string `json:"audit_seed"`
	}
	if err := json.Unmarshal(b, &f); err != nil || len(f.Terms) == 0 {
		t.Fatalf("root: %v", err)
	}
	out := map[string][]byte{}
	for i, term := range f.Terms {
		out[fmt.Sprintf("root wrap %d", i)], out[fmt.Sprintf("root mac %d", i)] = unhex(t, term.Wrap), unhex(t, term.MAC)
	}
	out["root audit seed"] = unhex(t, f.Audit)
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) < 16 {
		t.Fatalf("want hexadecimal, got %d characters", len(s))
	}
	return b
}

// deviceKeys are the two keys of a device.
func deviceKeys(t *testing.T, name, path string) map[string][]byte {
	t.Helper()
	id, err := enrol.LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{name + " kek": key.Reveal(id.KEK()), name + " mac": key.Reveal(id.MAC())}
}

// search is where secrets are looked for, and which of them may be there.
type search struct {
	t      *testing.T
	hunter *hunter
}

// in fails the test for each secret that is in b, unless may lets it.
func (s *search) in(place string, b []byte, may func(name string) bool) {
	s.t.Helper()
	for _, found := range s.hunter.hunt(b) {
		name, _, _ := strings.Cut(found, " (")
		if !may(name) {
			s.t.Errorf("%s: %s", place, found)
		}
	}
}

func nothing(string) bool { return false }

// anyOf lets secrets through whose names hold one of these.
func anyOf(parts ...string) func(string) bool {
	return func(name string) bool {
		for _, p := range parts {
			if strings.Contains(name, p) {
				return true
			}
		}
		return false
	}
}

// tarpit is a local port that answers nothing: who opens an association there waits with the key in hand.
func tarpit(t *testing.T) (at string, came <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heard := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				b := make([]byte, 1)
				if _, err := c.Read(b); err == nil {
					heard <- struct{}{}
				}
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String(), heard
}

// TestLaw1And2NoKeyIsSeenInAnyLogFileMessageOrForeignProcess is the leak hunt: each role is a process of its own at debug
// level, the main job and a campaign are done, and everything that can be read is searched for every key in every form.
func TestLaw1And2NoKeyIsSeenInAnyLogFileMessageOrForeignProcess(t *testing.T) {
	r := newRig(t)
	r.flags = []string{"--log-level", "debug"}
	lines, bus := &tap{t: t}, &tap{t: t}
	s := newStaffOn(t, r, wires{line: lines.line, bus: func(url string) string { return bus.bus(url, r.path("is/tls")) }})
	s.mainJob()
	grant, err := terminal.ReadGrant(s.path("grant.json"))
	if err != nil {
		t.Fatal(err)
	}

	dc, fleet, is := s.roles[0], s.roles[1], s.roles[2]
	pit, came := tarpit(t)
	tsp, _ := s.serve("terminal read --data tsp --grant grant.json --meter "+s.meters[0]+" --connect "+pit, "")
	<-came
	processes := map[string][]byte{
		"central": memory(t, is.cmd.Process.Pid), "concentrator": memory(t, dc.cmd.Process.Pid),
		"terminal": memory(t, tsp.cmd.Process.Pid), "meters": memory(t, fleet.cmd.Process.Pid),
	}
	tsp.kill()
	for _, one := range s.roles {
		one.stop()
	}

	keys := held(t, s.path("meters"), s.meters)
	for _, more := range []map[string][]byte{
		rootKeys(t, s.path("is/vault.root")), deviceKeys(t, "concentrator's", s.path("dc/identity.json")), deviceKeys(t, "terminal's", s.path("tsp/identity.json")),
		derivedKey(t, s.path("tsp/identity.json"), grant),
	} {
		for name, k := range more {
			keys[name] = k
		}
	}
	if len(keys) < 2*7+2+1+4+1 { // CCC, two of CC_LAN, CC_LOCALE, CC_IS a meter; wrap, mac; seed; devices; derived
		t.Fatalf("only %d keys to look for", len(keys))
	}
	h := newHunter()
	for name, k := range keys {
		h.add(name, k)
	}
	f := &search{t, h}
	s.proveTheSearch(h, processes, keys)
	for what, c := range map[string]struct{ b, want []byte }{
		"bus": {bus.bytes(), []byte(operatorDC)}, "bus, ciphered relays": {bus.bytes(), []byte("PUB ")}, "lines": {lines.bytes(), unhex(t, s.meters[0]+"0000000000000000")[:8]},
		"log": {[]byte(dc.log.String() + is.log.String() + fleet.log.String()), []byte("level=DEBUG")},
	} {
		if !bytes.Contains(c.b, c.want) {
			t.Errorf("%s: the tap did not hear what it must, in %d bytes", what, len(c.b))
		}
	}

	f.in("memory of the concentrator", processes["concentrator"], anyOf("CC_LAN", "concentrator's"))
	f.in("memory of the terminal", processes["terminal"], anyOf("derived", "terminal's"))
	f.in("bus", bus.bytes(), nothing)
	f.in("lines to the meters", lines.bytes(), nothing)
	f.in("answers and errors of commands", []byte(s.said.String()), nothing)
	for i, one := range s.roles {
		f.in(fmt.Sprintf("log of role %d", i), []byte(one.log.String()), nothing)
	}
	files := f.files(s.dir)
	t.Logf("%d keys; memory of %d processes, %d bytes; %d files; %d bytes on the bus, %d on the lines",
		len(keys), len(processes), len(processes["central"])+len(processes["concentrator"])+len(processes["terminal"]), files, len(bus.bytes()), len(lines.bytes()))
}

// mainJob is a day of the system, with a campaign over all keys.
func (s *staff) mainJob() {
	s.t.Helper()
	meter := s.meters[0]
	yesterday := time.Now().UTC().Add(time.Hour).AddDate(0, 0, -1).Format(time.DateOnly)
	s.soon("central provision "+operatorDC+" --data is", "holds 2 keys")
	s.soon("central associate "+operatorDC+" --data is", meter+" +48 +v1")
	s.ok("central collect " + yesterday + " --data is")
	s.soon("central collect "+yesterday+" --data is", "2 days stored, 96 values")
	s.ok("rotate --selection all --reason first --wait --json --data is")
	s.ok("central keys " + meter + " --json --data is")
	s.ok("central breaker " + meter + " open --json --data is")
	s.exits(exitFailed, "central breaker "+meter+" open --through concentrator --data is")
	s.ok("central clock " + meter + " --data is")
	s.ok("central broadcast " + operatorDC + " --json --data is")
	s.ok("central grant " + operatorTSP + " " + meter + " --for 1h --json --data is")
	read := "terminal read --data tsp --grant grant.json --connect " + s.local[0] + " --meter "
	s.ok(read + meter + " --json")
	s.exits(exitFailed, read+s.meters[1])
	s.write("forged.json", strings.Replace(s.read("grant.json"), `"not_after": "20`, `"not_after": "21`, 1))
	s.exits(exitFailed, strings.Replace(read, "grant.json", "forged.json", 1)+meter)
	s.ok("terminal log --data tsp --out log.json")
	s.ok("central terminal-log log.json --json --data is")
	s.ok("audit show --meter " + meter + " --json --data is")
	s.ok("exposure --meter " + meter + " --json --data is")
	s.ok("central rollcall --json --data is")
	s.ok("central status --json --data is")
	s.ok("central audit-export audit.jsonl --data is")
	s.write("garbage.jsonl", strings.Repeat("garbage\n", 10))
	s.exits(exitFailed, "central import garbage.jsonl --data is")
}

func derivedKey(t *testing.T, identity string, g enrol.Grant) map[string][]byte {
	t.Helper()
	id, err := enrol.LoadIdentity(identity)
	if err != nil {
		t.Fatal(err)
	}
	k, err := id.OpenDerived(g.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"derived": key.Reveal(k)}
}

// proveTheSearch looks where keys must be: a search that found none there would prove nothing elsewhere.
func (s *staff) proveTheSearch(h *hunter, processes map[string][]byte, keys map[string][]byte) {
	s.t.Helper()
	want := func(place string, b []byte, name string) {
		s.t.Helper()
		for _, found := range h.hunt(b) {
			if strings.HasPrefix(found, name+" (") {
				return
			}
		}
		s.t.Errorf("%s: want %s found there", place, name)
	}
	want("memory of the meters", processes["meters"], s.meters[0]+" CCC")
	want("memory of the concentrator", processes["concentrator"], s.meters[0]+" CC_LAN v2")
	want("memory of the terminal", processes["terminal"], "derived")
	want("memory of the central system", processes["central"], "root wrap 0")
	memories, err := os.ReadFile(s.path("meters/" + s.meters[0] + ".nvm"))
	if err != nil {
		s.t.Fatal(err)
	}
	want("memory file of a meter", memories, s.meters[0]+" CC_IS v1")
	want("a planted log", fmt.Appendf(nil, "level=DEBUG msg=x key=%X", keys[s.meters[0]+" CCC"]), s.meters[0]+" CCC")
}

// files searches every file below dir: databases with their journals, the files of the bus, logs, exports, sealed files. A
// meter's own memory, a root that was made in clear, and a device's own identity are where their keys live.
func (f *search) files(dir string) (n int) {
	f.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		name, may := strings.TrimPrefix(path, dir+"/"), nothing
		switch {
		case strings.HasPrefix(name, "meters/") && strings.HasSuffix(name, ".nvm"):
			may = anyOf(strings.TrimSuffix(filepath.Base(name), ".nvm"))
		case name == "is/vault.root":
			may = anyOf("root ")
		case name == "dc/identity.json":
			may = anyOf("concentrator's")
		case name == "tsp/identity.json":
			may = anyOf("terminal's")
		}
		f.in("file "+name, b, may)
		return nil
	})
	if err != nil || n < 20 {
		f.t.Errorf("%d files, %v", n, err)
	}
	return n
}
