package bus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/meterseal/meterseal/dlms"
)

// ErrServer is returned when the embedded NATS server cannot be used.
var ErrServer = errors.New("bus: server")

// startTimeout bounds how long the server may take until it listens.
const startTimeout = 10 * time.Second

// responseLife bounds how long after an order its concentrator may answer.
const responseLife = time.Hour

// User is a concentrator that may speak on the bus: its title, and the public half of the key that it signs on with.
type User struct {
	Title      dlms.SystemTitle
	NKeyPublic string
}

func (u User) check() error {
	if u.Title.IsZero() || !nkeys.IsValidPublicUserKey(u.NKeyPublic) {
		return fmt.Errorf("%w: user %s: want a system title and a public user key (U...)", ErrServer, u.Title)
	}
	return nil
}

// permissions are the subjects of one concentrator: it hears its own orders and the answers to its own messages, it
// tells on its own subject, and it answers each order once. Nothing else is there for it.
func (u User) permissions() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{upSubject(u.Title)}},
		Subscribe: &server.SubjectPermission{Allow: []string{orderSubject(u.Title), inboxOf(u.Title) + ".>"}},
		Response:  &server.ResponsePermission{MaxMsgs: 1, Expires: responseLife},
	}
}

// ServerConfig says where the bus listens and who may speak on it.
type ServerConfig struct {
	// Listen is the address, "127.0.0.1:0" when empty. Port 0 takes a free one: ask URL.
	Listen string
	// TLSDir is where InitTLS has been.
	TLSDir string
	// Users are the concentrators enrolled so far.
	Users []User
	// Rand makes the key that the IS itself signs on with, anew in every process.
	Rand io.Reader
	// Log gets the server's own messages; nil discards them.
	Log *slog.Logger
}

// Server is the IS's end of the WAN: a NATS server in this process, without any store.
type Server struct {
	log      *slog.Logger
	internal nkeys.KeyPair
	ns       *server.Server

	mu    sync.Mutex
	opts  *server.Options // of the last start or reload
	users map[dlms.SystemTitle]User
}

// NewServer prepares a server; Start makes it listen.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{log: cfg.Log, users: map[dlms.SystemTitle]User{}}
	for _, u := range cfg.Users {
		if err := u.check(); err != nil {
			return nil, err
		}
		s.users[u.Title] = u
	}
	var err error
	if s.internal, err = nkeys.CreatePairWithRand(nkeys.PrefixByteUser, cfg.Rand); err != nil {
		return nil, fmt.Errorf("%w: own key: %w", ErrServer, err)
	}
	if s.opts, err = options(cfg); err != nil {
		return nil, err
	}
	if s.opts.Nkeys, err = s.usersLocked(); err != nil {
		return nil, err
	}
	if s.ns, err = server.NewServer(s.opts.Clone()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	s.ns.SetLoggerV2(natsLog{cfg.Log}, false, false, false)
	return s, nil
}

func options(cfg ServerConfig) (*server.Options, error) {
	host, port, err := listenAddress(cfg.Listen)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := serverTLS(cfg.TLSDir)
	if err != nil {
		return nil, err
	}
	return &server.Options{
		ServerName: "meterseal", Host: host, Port: port,
		TLS: true, TLSConfig: tlsConfig, TLSTimeout: 5, AuthTimeout: 6, // seconds
		MaxPayload: MaxMessage, MaxControlLine: 1 << 10, MaxSubs: 64,
		NoSigs: true, NoSystemAccount: true, DisableShortFirstPing: true,
		PingInterval: 20 * time.Second, MaxPingsOut: 2,
	}, nil
}

func listenAddress(address string) (host string, port int, err error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%w: listen: %w", ErrServer, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("%w: listen: want a port from 0 to 65535, got %q", ErrServer, text)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// Start listens.
func (s *Server) Start() error {
	s.ns.Start()
	if !s.ns.ReadyForConnections(startTimeout) {
		s.Close()
		return fmt.Errorf("%w: not listening after %s; is the address in use?", ErrServer, startTimeout)
	}
	return nil
}

// Close stops listening and cuts everybody.
func (s *Server) Close() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// URL is where concentrators connect.
func (s *Server) URL() string { return s.ns.ClientURL() }

// AddUser lets a concentrator speak. One with the same title and another key replaces it and is cut.
func (s *Server) AddUser(u User) error {
	if err := u.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, had := s.users[u.Title]
	if had && old == u {
		return nil
	}
	s.users[u.Title] = u
	err := s.reloadLocked()
	if err == nil {
		return nil
	}
	delete(s.users, u.Title)
	if had {
		s.users[u.Title] = old
	}
	return err
}

// RemoveUser cuts a concentrator at once and does not let it in again. It stays out even if the reload fails: then
// the error says that its present connection may be alive.
func (s *Server) RemoveUser(title dlms.SystemTitle) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.users[title]; !ok {
		return nil
	}
	delete(s.users, title)
	return s.reloadLocked()
}

func (s *Server) reloadLocked() error {
	opts := s.opts.Clone()
	var err error
	if opts.Nkeys, err = s.usersLocked(); err != nil {
		return err
	}
	if err := s.ns.ReloadOptions(opts); err != nil {
		return fmt.Errorf("%w: reload users: %w", ErrServer, err)
	}
	return nil
}

// usersLocked lists the IS itself and its concentrators. Two with one key would not be told apart: that is refused.
func (s *Server) usersLocked() ([]*server.NkeyUser, error) {
	own, err := s.internal.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("%w: own key: %w", ErrServer, err)
	}
	list := []*server.NkeyUser{{Nkey: own}}
	seen := map[string]dlms.SystemTitle{own: {}}
	for _, u := range s.users {
		if other, twice := seen[u.NKeyPublic]; twice {
			return nil, fmt.Errorf("%w: %s and %s have one bus key", ErrServer, other, u.Title)
		}
		seen[u.NKeyPublic] = u.Title
		list = append(list, &server.NkeyUser{Nkey: u.NKeyPublic, Permissions: u.permissions()})
	}
	return list, nil
}

// natsLog carries the server's messages to slog.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) {
	l.log.Debug("bus.server", "text", fmt.Sprintf(format, v...))
}

func (l natsLog) Debugf(format string, v ...any) {
	l.log.Debug("bus.server", "text", fmt.Sprintf(format, v...))
}
func (l natsLog) Tracef(string, ...any) {}
func (l natsLog) Warnf(format string, v ...any) {
	l.log.Warn("bus.server", "text", fmt.Sprintf(format, v...))
}

func (l natsLog) Errorf(format string, v ...any) {
	l.log.Warn("bus.server", "text", fmt.Sprintf(format, v...))
}

func (l natsLog) Fatalf(format string, v ...any) {
	l.log.Error("bus.server", "text", fmt.Sprintf(format, v...))
}
