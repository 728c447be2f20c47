package bus

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an IS on a bus, over real sockets, in one process.
type world struct {
	t      *testing.T
	dir    string
	server *Server
	is     *IS
}

func titleOf(n byte) dlms.SystemTitle { return dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, n} }

func newWorld(t *testing.T, users ...User) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	if err := InitTLS(w.dir, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.start("", users...)
	return w
}

func (w *world) start(listen string, users ...User) {
	w.t.Helper()
	s, err := NewServer(ServerConfig{Listen: listen, TLSDir: w.dir, Users: users, Rand: rand.Reader})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		w.t.Fatal(err)
	}
	is, err := NewIS(s, ISConfig{Now: time.Now, Rand: rand.Reader})
	if err != nil {
		w.t.Fatal(err)
	}
	w.server, w.is = s, is
	w.t.Cleanup(func() { is.Close(); s.Close() })
}

func (w *world) ca() string { return filepath.Join(w.dir, CAFile) }

// newUser makes a concentrator's bus key.
func newUser(t *testing.T, n byte) (User, nkeys.KeyPair) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return User{Title: titleOf(n), NKeyPublic: public}, pair
}

func (w *world) config(u User, pair nkeys.KeyPair) ConcentratorConfig {
	return ConcentratorConfig{Title: u.Title, URL: w.server.URL(), CAFile: w.ca(), NKey: pair, Now: time.Now, Rand: rand.Reader}
}

// connect connects a concentrator and waits for its line.
func (w *world) connect(cfg ConcentratorConfig, h func(context.Context, Order) Reply) *Concentrator {
	w.t.Helper()
	c, err := Connect(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	if h != nil {
		if err := c.HandleOrder(h); err != nil {
			w.t.Fatal(err)
		}
	}
	w.eventually("the line is up", c.Up)
	if err := c.nc.FlushTimeout(5 * time.Second); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("waited in vain until %s", what)
}

// raw connects with a concentrator's key and no manners.
func (w *world) raw(u User, pair nkeys.KeyPair) (*nats.Conn, <-chan error) {
	w.t.Helper()
	tlsConfig, err := clientTLS(w.ca())
	if err != nil {
		w.t.Fatal(err)
	}
	refused := make(chan error, 16)
	closed := make(chan struct{})
	nc, err := nats.Connect(w.server.URL(), nats.Secure(tlsConfig), nats.Nkey(u.NKeyPublic, pair.Sign), nats.NoReconnect(),
		nats.CustomInboxPrefix(inboxOf(u.Title)),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close(); <-closed })
	return nc, refused
}

func statusOrder() Order { return Order{Status: &Status{}} }

func statusReply(spooled int) Reply { return Reply{Status: &StatusResult{Spooled: spooled}} }

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
