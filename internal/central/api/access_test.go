package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
)

// reached is the status with which the backend of these tests answers: a request that gets there passed the gate.
const reached = http.StatusTeapot

// office is an API that answers over a socket and over TCP, with a backend that only says that it was reached.
type office struct {
	t       *testing.T
	data    string
	ca      string
	address string
	now     time.Time
	gate    *access.Gate
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, data: t.TempDir(), now: time.Now()}
	o.ca = filepath.Join(o.data, "tls")
	o.must(access.InitAuthority(o.ca, access.AuthorityOptions{Now: o.now, Rand: rand.Reader}))
	db, err := store.Open(t.Context(), o.data, store.Options{})
	o.must(err)
	t.Cleanup(func() { _ = db.Close() })
	clock := func() time.Time { return o.now }
	o.gate = access.NewGate(access.GateConfig{Store: db, Audit: audit.New(db, audit.Options{Now: clock}), Now: clock, Rand: rand.Reader})
	config, err := access.ServerTLS(o.ca, clock)
	o.must(err)

	ctx, stop := context.WithCancel(t.Context())
	where := make(chan net.Addr, 1)
	c := ServeConfig{
		Socket: filepath.Join(o.data, SocketName), Listen: "127.0.0.1:0", TLS: config, Gate: o.gate, Log: slog.New(slog.DiscardHandler),
		Listening: func(a net.Addr) { where <- a },
	}
	h, err := Handler(unreachable{}, o.gate)
	o.must(err)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, c, telling(h)) }()
	t.Cleanup(func() {
		stop()
		o.must(<-ended)
	})
	o.address = (<-where).String()
	return o
}

// unreachable is a backend whose methods all panic, which telling turns into an answer.
type unreachable struct{ Backend }

func telling(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(reached)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// person lets somebody in and returns who calls.
func (o *office) person(name string, roles ...access.Role) *access.Identity {
	o.t.Helper()
	return o.personOf(o.ca, name, access.DefaultLife, roles...)
}

func (o *office) personOf(ca, name string, life time.Duration, roles ...access.Role) *access.Identity {
	o.t.Helper()
	key, err := access.NewKey(rand.Reader)
	o.must(err)
	a, err := access.OpenAuthority(ca, nil)
	o.must(err)
	issued, err := o.gate.People().Add(o.t.Context(), "person:owner", a, access.Request{Name: name, Roles: roles, Public: key.Public(), Life: life})
	o.must(err)
	id, err := issued.Identity(key)
	o.must(err)
	return id
}

func (o *office) client(id *access.Identity) *Client {
	o.t.Helper()
	c := NewClient(Target{Data: o.data, As: id})
	o.t.Cleanup(c.Close)
	return c
}

// send makes a request and returns the status and the text of the answer.
func (o *office) send(c *Client, pattern, body string) (int, string) {
	o.t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	req, err := http.NewRequestWithContext(o.t.Context(), method, "https://"+access.ServerName+path, strings.NewReader(body))
	o.must(err)
	resp, err := c.http.Do(req)
	o.must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	o.must(err)
	return resp.StatusCode, string(b)
}

// bodies has a request for each operation that is not its address alone.
var bodies = map[access.Op]string{
	access.OpEnrolDC:        `{"file":{"kind":"concentrator"}}`,
	access.OpEnrolTerminal:  `{"file":{"kind":"terminal"}}`,
	access.OpEmergencyRekey: `{"selection":{"exposed":true}}`,
	access.OpCampaignAbort:  `{"id":1,"how":"abort"}`,
	access.OpCampaignSteer:  `{"id":1,"how":"pause"}`,
}

func TestEachRoleIsTriedAgainstEachOperation(t *testing.T) {
	o := newOffice(t)
	r := routes(unreachable{}, o.gate)
	if r.err != nil {
		t.Fatal(r.err)
	}
	tried := map[access.Op]bool{}
	for _, role := range access.Roles() {
		c := o.client(o.person("x-"+string(role), role))
		for _, e := range r.endpoints {
			for _, op := range e.ops {
				rule, _ := access.RuleOf(op)
				body := bodies[op]
				if body == "" {
					body = "{}"
				}
				status, text := o.send(c, e.pattern, body)
				tried[op] = true
				switch pending := strings.Contains(text, "wants a second person"); {
				case !slices.Contains(rule.Roles, role):
					if status != http.StatusForbidden || pending || !strings.Contains(text, "takes "+access.Names(rule.Roles, "or")) {
						t.Errorf("%s does %s: %d %s", role, op, status, text)
					}
				case rule.Dual:
					if status != http.StatusForbidden || !pending {
						t.Errorf("%s alone does %s: %d %s", role, op, status, text)
					}
				case status != reached:
					t.Errorf("%s may not do %s: %d %s", role, op, status, text)
				}
			}
		}
	}
	for _, op := range access.Ops() {
		if rule, _ := access.RuleOf(op); !rule.AtRest && !tried[op] {
			t.Errorf("%s is in the table, and no address of the API does it", op)
		}
	}
}

func TestAnAddressWithoutARowInTheTableIsAnError(t *testing.T) {
	r := &router{mux: http.NewServeMux()}
	for _, op := range []access.Op{"nothing.of-the-kind", access.OpRestore} {
		r.err = nil
		route(r, op, "POST /v1/"+string(op), func(context.Context, none) (none, error) { return none{}, nil })
		if r.err == nil || !strings.Contains(r.err.Error(), "no row in the table of roles") {
			t.Errorf("%s: %v", op, r.err)
		}
	}
}

func TestSomebodyWithoutARoleMayNothing(t *testing.T) {
	o := newOffice(t)
	id := o.person("alice", access.Operator)
	_, err := o.gate.People().Revoke(t.Context(), "person:owner", "alice", "", "x")
	o.must(err)
	c := o.client(id)
	for _, e := range routes(unreachable{}, o.gate).endpoints {
		if status, text := o.send(c, e.pattern, "{}"); status != http.StatusUnauthorized || !strings.Contains(text, "revoked") {
			t.Errorf("%s: %d %s", e.pattern, status, text)
		}
	}
}

func TestARevocationTakesEffectOnAnOpenConnection(t *testing.T) {
	o := newOffice(t)
	c := o.client(o.person("alice", access.Operator))
	if status, text := o.send(c, "GET /v1/status", ""); status != reached {
		t.Fatal(status, text)
	}
	_, err := o.gate.People().Revoke(t.Context(), "person:owner", "alice", "", "stolen")
	o.must(err)
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it was revoked at") {
		t.Errorf("after the revocation: %v", err)
	}
}

func TestACertificateThatEndsIsRefusedOnAnOpenConnection(t *testing.T) {
	o := newOffice(t)
	c := o.client(o.personOf(o.ca, "alice", time.Hour, access.Operator))
	if status, text := o.send(c, "GET /v1/status", ""); status != reached {
		t.Fatal(status, text)
	}
	o.now = o.now.Add(2 * time.Hour)
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it ended at") {
		t.Errorf("open connection: %v", err)
	}
	c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "have another one issued") {
		t.Errorf("new connection: %v", err)
	}
}

func TestForgedForeignAndMissingCertificatesAreRefused(t *testing.T) {
	o := newOffice(t)
	// One's own authority, of the same names; its certificate is even entered in the store.
	own := t.TempDir()
	o.must(access.InitAuthority(own, access.AuthorityOptions{Now: o.now, Rand: rand.Reader}))
	forged := o.personOf(own, "alice", access.DefaultLife, access.Roles()...)
	honest := o.person("bob", access.Operator)

	// It does not trust what answers; a thief would not care.
	_, err := o.client(forged).Status(t.Context())
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not the central system that issued the certificate of alice") {
		t.Errorf("forged: %v", err)
	}
	config := honest.ClientTLS()
	for name, try := range map[string]struct {
		change func(c *tls.Config)
		want   string
	}{
		"forged":  {func(c *tls.Config) { c.Certificates = forged.ClientTLS().Certificates }, "another authority issued it"},
		"missing": {func(c *tls.Config) { c.Certificates = nil }, "none was shown"},
		"the central system's own": {func(c *tls.Config) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(o.ca, "people-is.pem"), filepath.Join(o.ca, "people-is.pem"))
			o.must(err)
			c.Certificates = []tls.Certificate{pair}
		}, "it is no certificate of a person"},
		"tls 1.2": {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "speaks TLS 1.3 alone"},
	} {
		for _, network := range []string{"unix", "tcp"} {
			to := Target{Data: o.data, As: honest}
			if network == "tcp" {
				to.Address = o.address
			}
			c := NewClient(to)
			changed := config.Clone()
			try.change(changed)
			c.http.Transport.(*http.Transport).TLSClientConfig = changed
			_, err := c.Status(t.Context())
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), try.want) {
				t.Errorf("%s over %s: %v", name, network, err)
			}
			c.Close()
		}
	}
	for _, address := range []string{"", o.address} {
		c := NewClient(Target{Data: o.data, Address: address, As: honest})
		if status, text := o.send(c, "GET /v1/status", ""); status != reached {
			t.Errorf("an honest one at %q: %d %s", address, status, text)
		}
		c.Close()
	}
}

func TestWithoutTLSNothingIsAnswered(t *testing.T) {
	o := newOffice(t)
	for _, at := range [][2]string{{"unix", filepath.Join(o.data, SocketName)}, {"tcp", o.address}} {
		conn, err := new(net.Dialer).DialContext(t.Context(), at[0], at[1])
		o.must(err)
		_, err = io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
		o.must(err)
		b, _ := io.ReadAll(conn) // it ends however it ends
		if bytes.Contains(b, []byte("200")) || bytes.Contains(b, []byte("418")) {
			t.Errorf("%s: %q", at[0], b)
		}
		o.must(conn.Close())
	}
	info, err := os.Stat(filepath.Join(o.data, SocketName))
	o.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
}

func TestAPersonsCertificateIsNoCentralSystem(t *testing.T) {
	o := newOffice(t)
	id := o.person("alice", access.Roles()...)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: id.ClientTLS().Certificates, MinVersion: tls.VersionTLS13})
	o.must(err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).HandshakeContext(t.Context())
			_ = c.Close()
		}
	}()
	c := NewClient(Target{Address: l.Addr().String(), As: o.person("bob", access.Operator)})
	defer c.Close()
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if _, err := c.Status(t.Context()); !errors.As(err, &host) && !errors.As(err, &invalid) {
		t.Errorf("somebody else poses as the central system: %v", err)
	}
}

func TestAnOperationWaitsForItsSecondPersonOverTheAPI(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.client(o.person("alice", access.Operator)), o.person("bob", access.Operator)
	abort := CampaignSteering{ID: 7, How: "abort"}
	_, err := alice.SteerCampaign(t.Context(), abort)
	var p *access.PendingError
	if !errors.As(err, &p) || !strings.Contains(err.Error(), "meterseal approve give "+p.Approval.ID) || p.Approval.Params != `{"id":7,"how":"abort"}` {
		t.Fatalf("want a second person, got %v", err)
	}
	caller := access.Caller{Name: bob.Name, Roles: bob.Roles, Fingerprint: bob.Fingerprint()}
	_, err = o.gate.Give(t.Context(), caller, p.Approval.ID, "")
	o.must(err)
	if status, text := o.send(alice, "POST /v1/campaigns/steer", `{ "how": "abort",  "id": 8 }`); status != http.StatusForbidden {
		t.Errorf("other parameters: %d %s", status, text)
	}
	if status, text := o.send(o.client(bob), "POST /v1/campaigns/steer", `{"id":7,"how":"abort"}`); status != http.StatusForbidden {
		t.Errorf("another person: %d %s", status, text)
	}
	if status, text := o.send(alice, "POST /v1/campaigns/steer", `{ "how": "abort",  "id": 7 }`); status != reached {
		t.Errorf("approved: %d %s", status, text)
	}
	if status, _ := o.send(alice, "POST /v1/campaigns/steer", `{"id":7,"how":"abort"}`); status != http.StatusForbidden {
		t.Errorf("a second time: %d", status)
	}
}

func TestWhoIsRefusedIsReadNoRequest(t *testing.T) {
	o := newOffice(t)
	c := o.client(o.person("carol", access.Auditor))
	status, text := o.send(c, "POST /v1/breaker", "this is no JSON")
	if status != http.StatusForbidden {
		t.Errorf("%d %s", status, text)
	}
	c = o.client(o.person("alice", access.Operator))
	if status, text := o.send(c, "POST /v1/breaker", "this is no JSON"); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, text)
	}
	if status, text := o.send(c, "POST /v1/breaker", `{"meter":"4D534C0000000001","op":"open","unknown":1}`); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, text)
	}
}
