package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/keysfile"
)

// Ways to authenticate.
const (
	authNone   = "none"
	authLLS    = "lls"
	authGMAC   = "gmac"
	authSHA256 = "sha256"
)

// releaseTime bounds the good-bye: what was asked for is done by then.
const releaseTime = 3 * time.Second

// meterFlags says which meter, as which client, and how.
type meterFlags struct {
	link            linkFlags
	client, server  uint16
	auth            string
	keys, secret    string
	title           string
	counter         uint32
	dedicated       bool
	sharedCounter   bool
	ephemeral, json bool
	timeout         time.Duration
}

func (f *meterFlags) add(c *cobra.Command) {
	f.link.add(c)
	s := c.Flags()
	s.Uint16Var(&f.client, "client", 0, "client SAP (default 1 with keys, 16, the public client, without)")
	s.Uint16Var(&f.server, "server", uint16(dlms.SAPManagement), "server SAP: the logical device")
	s.StringVar(&f.auth, "auth", "", "none; lls or sha256, with --secret and no ciphering; gmac: HLS-GMAC and suite 0 (default gmac with --keys, lls with --secret)")
	s.StringVar(&f.secret, "secret", "", "file of the password or HLS secret: its first line, or hex: and digits")
	s.StringVar(&f.keys, "keys", "", "the meter's keys file; its counters are kept in FILE.counters")
	s.StringVar(&f.title, "client-title", "", "our system title, 16 hexadecimal digits (default: one of our own, kept with the counters)")
	s.Uint32Var(&f.counter, "counter", 0, "the lowest invocation counter to send; it only ever raises ours")
	s.BoolVar(&f.dedicated, "dedicated", false, "draw a session key for this association; the long-term key then only opens and closes it")
	s.BoolVar(&f.sharedCounter, "shared-counter", false, "go on counting under the session key where the long-term key stands: for meters that have one counter for both")
	s.BoolVar(&f.ephemeral, "ephemeral-keys", false, "keep no counters: only for keys that are thrown away afterwards")
	s.BoolVar(&f.json, "json", false, "print JSON")
	s.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait for one answer")
}

// complete checks the flags and fills in what depends on others.
func (f *meterFlags) complete(c *cobra.Command) error {
	if err := f.completeAuth(c); err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usage(c, "--timeout: want a time above 0")
	}
	if !c.Flags().Changed("client") {
		f.client = uint16(dlms.SAPPublic)
		if f.auth != authNone {
			f.client = uint16(dlms.SAPManagement)
		}
	}
	return f.link.check(c, dlms.SAP(f.client), dlms.SAP(f.server))
}

func (f *meterFlags) completeAuth(c *cobra.Command) error {
	if f.auth == "" {
		switch {
		case f.keys != "":
			f.auth = authGMAC
		case f.secret != "":
			f.auth = authLLS
		default:
			f.auth = authNone
		}
	}
	switch {
	case f.auth == authGMAC && f.keys == "":
		return usage(c, "--auth gmac: want --keys, the meter's keys file")
	case f.bySecret() && f.secret == "":
		return usage(c, "--auth %s: want --secret, a file with it", f.auth)
	case f.secret != "" && !f.bySecret():
		return usage(c, "--secret: want --auth lls or sha256 with it, got %s", f.auth)
	case f.auth != authNone && f.auth != authGMAC && !f.bySecret():
		return usage(c, "--auth: want none, lls, gmac or sha256, got %q", f.auth)
	case f.auth != authGMAC && f.dedicated:
		return usage(c, "--dedicated: want --auth gmac; a session key needs a key to travel under")
	case f.sharedCounter && !f.dedicated:
		return usage(c, "--shared-counter: want --dedicated; without a session key there is one counter anyway")
	}
	return nil
}

func (f *meterFlags) bySecret() bool { return f.auth == authLLS || f.auth == authSHA256 }

// session is an association with a meter over a link of its own.
type session struct {
	*client.Association
	conn link.Conn
	log  *slog.Logger
}

// with opens an association, does the work and closes it in order.
func (f *meterFlags) with(c *cobra.Command, work func(context.Context, *session) error) error {
	if err := f.complete(c); err != nil {
		return err
	}
	log, err := logger(c)
	if err != nil {
		return err
	}
	s, err := f.open(c, log)
	if err != nil {
		return err
	}
	return errors.Join(work(c.Context(), s), s.close(c.Context()))
}

// close says good-bye. What was asked for is done, so that a meter that does not answer any more fails nothing.
func (s *session) close(ctx context.Context) error {
	if s.Err() == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
		defer cancel()
		if err := s.Release(ctx); err != nil {
			s.log.Warn("the meter did not confirm the release", "error", err)
		}
	}
	if err := s.conn.Close(); err != nil {
		s.log.Debug("closing the link", "error", err)
	}
	return nil
}

func (f *meterFlags) open(c *cobra.Command, log *slog.Logger) (*session, error) {
	cfg := client.Config{Timeout: f.timeout, Rand: rand.Reader}
	var send *keysfile.SendCounter
	var err error
	switch {
	case f.auth == authGMAC:
		send, err = f.secure(c, &cfg, log)
	case f.bySecret():
		err = f.identify(&cfg, log)
	}
	if err != nil {
		return nil, err
	}
	s, err := f.associate(c.Context(), cfg, log)
	var exception *client.ExceptionError
	if send == nil || !errors.As(err, &exception) {
		return s, err
	}
	if expected, ok := exception.Expected(); ok {
		log.Info("the meter expects a higher counter; trying once more", "invocation_counter", expected)
		if raiseErr := send.RaiseTo(expected); raiseErr != nil {
			return nil, errors.Join(err, raiseErr)
		}
		return f.associate(c.Context(), cfg, log)
	}
	return s, err
}

func (f *meterFlags) associate(ctx context.Context, cfg client.Config, log *slog.Logger) (*session, error) {
	conn, err := f.dial(ctx, dlms.SAP(f.client), log)
	if err != nil {
		return nil, err
	}
	a, err := client.Open(ctx, conn, cfg)
	if err != nil {
		_ = conn.Close() // the association's error is the one that matters
		return nil, fmt.Errorf("associate with %s as client %d: %w", &f.link, f.client, err)
	}
	return &session{Association: a, conn: conn, log: log}, nil
}

func (f *meterFlags) dial(ctx context.Context, as dlms.SAP, log *slog.Logger) (link.Conn, error) {
	conn, err := f.link.dial(ctx, as, dlms.SAP(f.server), f.timeout, log)
	return conn, f.link.portHint(err)
}

// maxSecretFile is far above any secret.
const maxSecretFile = 4096

// identify puts the secret into cfg. HLS-SHA256 names its client by a system title, of which nothing depends on how it
// was drawn.
func (f *meterFlags) identify(cfg *client.Config, log *slog.Logger) error {
	file, err := os.Open(f.secret)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("secret file", "warning", fmt.Sprintf("%s: mode %04o lets others at the secret: chmod 600 %s", f.secret, info.Mode().Perm(), f.secret))
	}
	b, err := io.ReadAll(io.LimitReader(file, maxSecretFile))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	b, _, _ = bytes.Cut(b, []byte{'\n'})
	b = bytes.TrimSuffix(b, []byte{'\r'})
	if digits, ok := bytes.CutPrefix(b, []byte("hex:")); ok {
		if b, err = hex.AppendDecode(nil, digits); err != nil {
			return fmt.Errorf("secret: %s: hex: want pairs of hexadecimal digits", f.secret) // without what it read
		}
	}
	if cfg.Secret, err = key.NewSecret(b); err != nil {
		return fmt.Errorf("secret: %s: %w", f.secret, err)
	}
	cfg.Mechanism = apdu.MechanismLLS
	if f.auth == authSHA256 {
		cfg.Mechanism = apdu.MechanismHLSSHA256
		copy(cfg.Title[:], "MSL")
		_, err = io.ReadFull(rand.Reader, cfg.Title[3:])
	}
	return err
}

// secure puts the keys and their counters into cfg.
func (f *meterFlags) secure(c *cobra.Command, cfg *client.Config, log *slog.Logger) (*keysfile.SendCounter, error) {
	held, err := keysfile.Load(f.keys)
	if err != nil {
		return nil, err
	}
	for _, w := range held.Warnings {
		log.Warn("keys file", "warning", w)
	}
	counters := keysfile.EphemeralCounters()
	if !f.ephemeral {
		if counters, err = keysfile.OpenCounters(f.keys); err != nil {
			return nil, err
		}
	}
	own, err := f.ownTitle(c, held, counters)
	if err != nil {
		return nil, err
	}
	aead, err := held.EK.AEAD()
	if err != nil {
		return nil, err
	}
	cipher, err := security.NewCipher(aead, held.AK)
	if err != nil {
		return nil, err
	}
	name := keysfile.Name{Key: held.EK.CheckValue(), Title: own}
	long := counters.ClientLongTerm(cipher, name)
	cfg.Title, cfg.PeerTitle = own, held.SystemTitle
	cfg.Mechanism, cfg.Policy = apdu.MechanismHLSGMAC, security.PolicyAuthenticatedEncrypted
	cfg.Dedicated, cfg.SharedCounter = f.dedicated, f.sharedCounter
	send := counters.Send(name)
	long.Send = send
	cfg.Global = long
	return send, f.firstContact(c.Context(), counters, name, send, log)
}

func (f *meterFlags) ownTitle(c *cobra.Command, held *keysfile.Keys, counters *keysfile.Counters) (own dlms.SystemTitle, err error) {
	if f.title == "" {
		return counters.OwnTitle(rand.Reader)
	}
	if own, err = dlms.ParseSystemTitle(f.title); err != nil {
		return own, usage(c, "--client-title: %w", err)
	}
	if own == held.SystemTitle {
		return own, usage(c, "--client-title: %s is the meter's own title; two ends that share one would repeat nonces", own)
	}
	return own, nil
}

// firstContact raises the counter of a key that this counters file has not sent under yet to what the meter shows as
// the lowest that it accepts. Anybody can have said so: the counter raises it within bounds, and never lowers.
func (f *meterFlags) firstContact(ctx context.Context, counters *keysfile.Counters, n keysfile.Name, send *keysfile.SendCounter, log *slog.Logger) error {
	if f.counter > 0 {
		return send.SetNext(dlms.InvocationCounter(f.counter))
	}
	known, err := counters.Sent(n)
	if err != nil || known {
		return err
	}
	conn, err := f.dial(ctx, dlms.SAPPublic, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	floor, err := client.ReadFloor(ctx, conn, dlms.OBIS{0, 0, 43, 0, 0, 255})
	_ = conn.Close() // it has served
	if err != nil {
		log.Warn("the meter does not show which counters it accepts; going on with ours", "error", err)
		return nil
	}
	return send.RaiseTo(floor)
}
