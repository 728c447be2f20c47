//go:build integration

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/store/pgtest"
)

// another writes the configuration of a second central system on the same store, over what it needs of the first one's
// data directory: the root of the vault and the certificates, and the key journal if it poses as the first.
func (p *plant) another(name, title string, port int, journal bool) {
	p.t.Helper()
	from, to := filepath.Join(p.dir, "is"), filepath.Join(p.dir, name)
	p.must(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel, errR := filepath.Rel(from, path)
		switch {
		case err != nil || errR != nil:
			return fmt.Errorf("%w %w", err, errR)
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular() || strings.HasSuffix(rel, ".journal") && !journal:
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
	p.write(name+".yaml", fmt.Sprintf("data: %s\nsystem_title: %s\nlisten: 127.0.0.1:%d\nretry_min: 300ms\nretry_max: 2s\nlease_ttl: 2s\n", to, title, port))
}

// rotated asks for a change of every key and waits until all of them are proven; in between it does what it is told.
func (p *plant) rotated(reason string, between func()) {
	p.t.Helper()
	asked, err := p.api.Rotate(p.t.Context(), api.Rotation{Reason: reason, Once: true})
	p.must(err)
	between()
	p.eventually(reason, func(ctx context.Context) error {
		done, all, err := p.finished(ctx, reason)
		if err == nil && (all < asked.Selected || done < all) {
			err = fmt.Errorf("%d of %d changes done", done, all)
		}
		return err
	})
}

// newRoot rotates the root of both nodes: nothing is sealed under the new term before a person has brought the root file to
// the second one, and a node that was killed goes on.
func (p *plant) newRoot(second *api.Client) {
	p.t.Helper()
	p.seconded(func(ctx context.Context) error {
		_, err := p.api.RotateRoot(ctx, api.RootRotation{Reason: "yearly"})
		return err
	})
	time.Sleep(3 * time.Second) // longer than a node takes to look
	r, err := p.api.Root(p.t.Context())
	p.must(err)
	if r.Finished || len(r.Waiting) != 2 || r.Terms[len(r.Terms)-1].State != "staged" {
		p.t.Fatalf("without the root file of the second node: %+v", r)
	}
	p.kill("central")
	b, err := os.ReadFile(filepath.Join(p.dir, "is", "vault.root"))
	p.must(err)
	p.write("carried", string(b))
	p.must(os.Rename(filepath.Join(p.dir, "carried"), filepath.Join(p.dir, "second", "vault.root")))
	p.start("central")
	for _, is := range []*api.Client{p.api, second} {
		p.eventually("the new root", func(ctx context.Context) error {
			r, err := is.Root(ctx)
			if err == nil && (!r.Finished || len(r.Waiting) != 0 || r.Terms[1].State != "seals") {
				err = fmt.Errorf("%+v", r)
			}
			return err
		})
	}
	backed := time.Now().UTC()
	p.seconded(func(ctx context.Context) error {
		_, err := p.api.RetireTerm(ctx, api.Retirement{Term: 1, BackedUpAt: backed})
		return err
	})
	p.eventually("the end of the old root", func(ctx context.Context) error {
		r, err := second.Root(ctx)
		if err == nil && r.Terms[0].State != "retired" {
			err = fmt.Errorf("%+v", r)
		}
		return err
	})
}

func TestTwoCentralSystemsOnOnePostgreSQLLoseNoMeter(t *testing.T) {
	cluster := new(pgtest.Cluster)
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	p := newPlant(t, cluster.Database(t))
	p.another("second", "4D534C1500000002", p.base+1+2*plantMeters, false)
	p.start("second")
	second := p.client("second")
	t.Cleanup(second.Close)
	p.eventually("the second central system", func(ctx context.Context) error {
		s, err := second.Status(ctx)
		if err == nil && s.Meters != plantMeters {
			err = fmt.Errorf("it sees %d meters", s.Meters)
		}
		return err
	})
	p.rotated("with two", func() {})
	p.newRoot(second)
	p.rotated("one killed", func() {
		time.Sleep(50 * time.Millisecond)
		p.kill("central")
		p.start("central")
	})
	p.rotated("the server crashed", func() {
		time.Sleep(50 * time.Millisecond)
		cluster.Crash(t)
	})

	p.eventually("roll call", func(ctx context.Context) error {
		r, err := p.api.RollCall(ctx)
		if err == nil && r.Answered < plantMeters {
			err = fmt.Errorf("meters lost: %v", r.Missing)
		}
		return err
	})

	// A second process of the same name, elsewhere: the first one can write no more, and ends.
	p.another("twin", "4D534C1500000001", p.base+2+2*plantMeters, true)
	p.start("twin")
	first := p.running["central"]
	delete(p.running, "central")
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(p.logs["central"].String(), "another process runs with system title 4D534C1500000001") {
			t.Errorf("the first of two with one name: want an error that says so, got %v", err)
		}
	case <-time.After(30 * time.Second):
		p.running["central"] = first
		t.Fatal("two processes with one name run side by side")
	}
}
