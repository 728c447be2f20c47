//go:build integration

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/shipment"
)

// plant is a system whose roles are processes of their own.
type plant struct {
	t       *testing.T
	dir     string
	program string
	meters  []dlms.SystemTitle
	dc      dlms.SystemTitle
	api     *api.Client
	store   string // a PostgreSQL database; SQLite when empty
	base    int    // the first of its ports
	running map[string]*exec.Cmd
	logs    map[string]*bytes.Buffer
}

const plantMeters = 6

func newPlant(t *testing.T, store string) *plant {
	t.Helper()
	dir := t.TempDir()
	p := &plant{
		t: t, dir: dir, program: filepath.Join(dir, "meterseal"), store: store, running: map[string]*exec.Cmd{}, logs: map[string]*bytes.Buffer{},
		dc: dlms.SystemTitle{'M', 'S', 'L', 0xC0, 0, 0, 0, 1},
	}
	t.Cleanup(p.close)
	if out, err := exec.Command("go", "build", "-o", p.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.prepare()
	return p
}

func (p *plant) close() {
	for role := range p.running {
		p.kill(role)
	}
	if p.t.Failed() {
		for role, log := range p.logs {
			p.t.Logf("%s:\n%s", role, log)
		}
	}
}

func (p *plant) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) write(name, text string) {
	p.t.Helper()
	p.must(os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600))
}

// ports returns the first of n free ports in a row.
func ports(t *testing.T, n int) int {
	t.Helper()
	for base := 20000 + os.Getpid()%20000; base < 60000; base += n {
		free := true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				free = false
				break
			}
			_ = l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// prepare plays the maker and the people who set the system up.
func (p *plant) prepare() {
	p.t.Helper()
	base := ports(p.t, 3+2*plantMeters)
	p.base = base
	cfg := central.Config{Data: filepath.Join(p.dir, "is"), SystemTitle: "4D534C1500000001", Listen: fmt.Sprintf("127.0.0.1:%d", base), Store: p.store}
	recipient, err := central.Init(p.t.Context(), cfg, central.Deps{Now: time.Now, Rand: rand.Reader})
	p.must(err)
	p.must(central.MakePeople(p.t.Context(), cfg, central.Deps{Now: time.Now, Rand: rand.Reader}, map[string][]access.Role{everybody: access.Roles(), witness: {access.Custodian}}))
	p.write("central.yaml", fmt.Sprintf("data: %s\nsystem_title: %s\nlisten: %s\nretry_min: 300ms\nretry_max: 2s\n", cfg.Data, cfg.SystemTitle, cfg.Listen))
	p.write("meters.yaml", fmt.Sprintf("factory: %[1]s/meters.age\nfactory_identity: %[1]s/factory.key\ndata: %[1]s/meters\nlan_listen: 127.0.0.1:%[2]d\n", p.dir, base+1))
	p.write("concentrator.yaml", fmt.Sprintf("data: %[1]s/dc\nis_url: tls://%[2]s\nis_ca: %[1]s/is/tls/ca.pem\nlan: [\"127.0.0.1:%[3]d-%[4]d\"]\nrediscover: 1s\n",
		p.dir, cfg.Listen, base+1, base+plantMeters))

	rows, err := shipment.Generate(rand.Reader, "MSL", plantMeters, "hardened", 1)
	p.must(err)
	for _, r := range rows {
		p.meters = append(p.meters, r.Title)
	}
	factory, err := age.GenerateX25519Identity()
	p.must(err)
	p.write("factory.key", factory.String()+"\n")
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	p.must(err)
	var own, sent bytes.Buffer
	p.must(shipment.WriteFactory(&own, "MSL", rows, factory.Recipient()))
	p.must(shipment.Write(&sent, rand.Reader, maker, "1", rows, recipient))
	p.write("meters.age", own.String())

	p.start("central")
	p.api = p.client("is")
	p.t.Cleanup(p.api.Close)
	p.eventually("the central system", func(ctx context.Context) error { _, err := p.api.Status(ctx); return err })
	p.must(p.api.AddMaker(p.t.Context(), api.MakerRequest{Key: maker.Public(), Fingerprint: maker.Public().Fingerprint()}))
	_, err = p.api.ImportShipment(p.t.Context(), &sent)
	p.must(err)
	f, err := concentrator.Init(filepath.Join(p.dir, "dc"), p.dc, rand.Reader, recipient)
	p.must(err)
	p.must(p.api.Enrol(p.t.Context(), api.Enrolment{File: f, Fingerprint: f.Fingerprint()}))
	p.must(p.api.Assign(p.t.Context(), api.Assignment{Concentrator: p.dc, Meters: p.meters}))
	p.start("meter")
	p.start("concentrator")
	p.eventually("provisioning", func(ctx context.Context) error {
		got, err := p.api.Provision(ctx, p.dc)
		if err == nil && got.Held < plantMeters {
			err = fmt.Errorf("%d keys held", got.Held)
		}
		return err
	})
}

// everybody is the one person of a plant who works it, witness the one who approves.
const (
	everybody = "plant"
	witness   = "witness"
)

// client works the central system of a data directory.
func (p *plant) client(data string) *api.Client {
	p.t.Helper()
	return p.clientOf(data, everybody)
}

func (p *plant) clientOf(data, person string) *api.Client {
	p.t.Helper()
	id, err := access.LoadIdentity(access.PersonFile(filepath.Join(p.dir, "is"), person))
	p.must(err)
	return api.NewClient(api.Target{Data: filepath.Join(p.dir, data), As: id})
}

// seconded does what takes two people: the second one approves what the first one asks for.
func (p *plant) seconded(do func(ctx context.Context) error) {
	p.t.Helper()
	var pending *access.PendingError
	if err := do(p.t.Context()); !errors.As(err, &pending) {
		p.t.Fatalf("want a second person to be wanted, got %v", err)
	}
	second := p.clientOf("is", witness)
	defer second.Close()
	_, err := second.Approve(p.t.Context(), api.Decision{ID: pending.Approval.ID, Reason: "seen"})
	p.must(err)
	p.must(do(p.t.Context()))
}

func (p *plant) start(role string) {
	p.t.Helper()
	args := map[string][]string{
		"central": {"central", "--config", "central.yaml"}, "meter": {"meter", "--config", "meters.yaml"},
		"concentrator": {"concentrator", "--config", "concentrator.yaml"},
		"second":       {"central", "--config", "second.yaml"}, "twin": {"central", "--config", "twin.yaml"},
	}[role]
	if args[0] == "central" && p.store != "" {
		args = append(args, "--store", p.store)
	}
	cmd := exec.Command(p.program, args...)
	cmd.Dir = p.dir
	if p.logs[role] == nil {
		p.logs[role] = &bytes.Buffer{}
	}
	cmd.Stderr, cmd.Stdout = p.logs[role], p.logs[role]
	p.must(cmd.Start())
	p.running[role] = cmd
}

// kill is SIGKILL: nothing is said, nothing is flushed.
func (p *plant) kill(role string) {
	cmd := p.running[role]
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed, as it should be
	delete(p.running, role)
}

func (p *plant) signal(role string, sig syscall.Signal) {
	p.t.Helper()
	p.must(p.running[role].Process.Signal(sig))
}

func (p *plant) eventually(what string, f func(context.Context) error) {
	p.t.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
		err = f(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	p.t.Fatalf("%s: %v", what, err)
}

// finished counts a reason's changes that are done.
func (p *plant) finished(ctx context.Context, reason string) (done, all int, err error) {
	changes, err := p.api.Changes(ctx, reason)
	for _, c := range changes {
		if c.Step == rotation.StepDone {
			done++
		}
	}
	return done, len(changes), err
}

func TestEachRoleKilledInTheMiddleOfARekeyLosesNoMeter(t *testing.T) {
	p := newPlant(t, "")
	for _, role := range []string{"concentrator", "meter", "central"} {
		reason := fmt.Sprintf("killing the %s", role)
		// Meters that stand still hold every change where its order is on the way and nobody knows what came of it.
		p.signal("meter", syscall.SIGSTOP)
		asked, err := p.api.Rotate(t.Context(), api.Rotation{Reason: reason, Once: true})
		p.must(err)
		p.eventually("orders on their way", func(ctx context.Context) error {
			changes, err := p.api.Changes(ctx, reason)
			if err == nil && !slices.ContainsFunc(changes, func(c rotation.Change) bool { return c.Step == rotation.StepSent }) {
				err = fmt.Errorf("none of %d changes is sent", len(changes))
			}
			return err
		})
		p.kill(role)
		p.start(role)
		p.signal("meter", syscall.SIGCONT)
		p.eventually(reason, func(ctx context.Context) error {
			done, all, err := p.finished(ctx, reason)
			if err == nil && (all < asked.Selected || done < all) {
				err = fmt.Errorf("%d of %d changes done", done, all)
			}
			return err
		})
	}
	p.eventually("roll call", func(ctx context.Context) error {
		r, err := p.api.RollCall(ctx)
		if err == nil && r.Answered < plantMeters {
			err = fmt.Errorf("meters lost: %v", r.Missing)
		}
		return err
	})
	var audit bytes.Buffer
	p.must(p.api.ExportAudit(t.Context(), &audit))
	if !strings.Contains(audit.String(), "vault.key.active") {
		t.Error("the audit log does not tell of the changes")
	}
	if out, err := exec.Command(p.program, "central", "--config", filepath.Join(p.dir, "central.yaml")).CombinedOutput(); err == nil || !errors.As(err, new(*exec.ExitError)) ||
		!strings.Contains(string(out), "in use") {
		t.Errorf("a second central system on the same data: %v\n%s", err, out)
	}
}
