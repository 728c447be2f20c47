package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
)

// answerTime is how long a script waits for one answer.
const answerTime = 5 * time.Second

// script is what our client does with a foreign server.
type script struct {
	// configure completes the configuration, which has titles, keys and randomness.
	configure func(*client.Config, opened)
	// run works in the open association.
	run func(*session)
}

// session is an open association with a list of what came of it, in words.
type session struct {
	*client.Association
	ctx     context.Context //nolint:containedctx // a session is one call of a script
	keys    opened
	results []string
}

func (s *session) note(what string, v any, err error) {
	if err != nil {
		v = word(err)
	}
	s.results = append(s.results, fmt.Sprintf("%s: %v", what, v))
}

// word says what kind of error it is, whatever its text.
func word(err error) string {
	var (
		access    dlms.DataAccessResult
		action    dlms.ActionResult
		exception *client.ExceptionError
		rejected  *client.RejectError
	)
	switch {
	case errors.As(err, &exception):
		return fmt.Sprintf("refused by exception %d %d %d", exception.StateError, exception.ServiceError, exception.InvocationCounter)
	case errors.As(err, &rejected):
		return fmt.Sprintf("rejected %d %d", rejected.Result, rejected.Diagnostic)
	case errors.Is(err, client.ErrAuthentication):
		return "the meter is not authentic"
	case errors.Is(err, security.ErrReplay):
		return "a counter below the floor"
	case errors.Is(err, client.ErrBroken):
		return "broken"
	case errors.As(err, &access):
		return "refused: " + access.String()
	case errors.As(err, &action):
		return "refused: " + action.String()
	case errors.Is(err, client.ErrAnswer):
		return "unexpected answer"
	}
	return "failed"
}

func (s *session) get(name string) dlms.Data {
	v, err := s.Get(s.ctx, attribute(name))
	s.note("get "+name, v, err)
	return v
}

func (s *session) set(name string, v dlms.Data) {
	s.note("set "+name, "success", s.Set(s.ctx, attribute(name), v))
}

func (s *session) action(name string, v dlms.Data) {
	m, err := dlms.ParseMethodRef(name)
	if err != nil {
		panic(err) // the names are constants
	}
	back, err := s.Action(s.ctx, m, v)
	s.note("action "+name, back, err)
}

func (s *session) list(names ...string) {
	list := make([]apdu.Attribute, len(names))
	for i, n := range names {
		list[i].Ref = attribute(n)
	}
	all, err := s.GetList(s.ctx, list)
	s.note("list", len(all), err)
	for i, r := range all {
		var refused error
		if r.Result != dlms.DataAccessSuccess {
			refused = r.Result
		}
		s.note("  "+names[i], r.Data, refused)
	}
}

func (s *session) selected(name string, sel apdu.Selection) {
	v, err := s.GetSelected(s.ctx, attribute(name), sel)
	s.note(fmt.Sprintf("get %s by selector %d", name, sel.Selector), v, err)
}

func attribute(name string) dlms.AttributeRef {
	ref, err := dlms.ParseAttributeRef(name)
	if err != nil {
		panic(err) // the names are constants
	}
	return ref
}

func gmac(c *client.Config, _ opened) {
	c.Mechanism, c.Policy = apdu.MechanismHLSGMAC, security.PolicyAuthenticatedEncrypted
}

// with joins ways to configure.
func with(all ...func(*client.Config, opened)) func(*client.Config, opened) {
	return func(c *client.Config, k opened) {
		for _, f := range all {
			f(c, k)
		}
	}
}

func lls(c *client.Config, k opened) { c.Mechanism, c.Secret = apdu.MechanismLLS, k.secret }

func sha256(c *client.Config, k opened) { c.Mechanism, c.Secret = apdu.MechanismHLSSHA256, k.secret }

func encrypted(c *client.Config, _ opened) { c.Policy = security.PolicyAuthenticatedEncrypted }

func wrongSecret(c *client.Config, _ opened) {
	var err error
	if c.Secret, err = key.NewSecret([]byte("not it")); err != nil {
		panic(err)
	}
}

func dedicated(c *client.Config, _ opened) { c.Dedicated = true }

// shared is for meters with one counter for both keys.
func shared(c *client.Config, _ opened) { c.Dedicated, c.SharedCounter = true, true }

func general(c *client.Config, _ opened) {
	c.General = true
	c.Conformance = client.DefaultConformance | apdu.ConformanceGeneralProtection
}

func authenticatedOnly(c *client.Config, _ opened) { c.Policy = security.PolicyAuthenticated }

// wrongKey seals under a key that the other end does not have.
func wrongKey(c *client.Config, k opened) {
	wrong, err := key.GenerateUnicast(seeded(99))
	if err != nil {
		panic(err)
	}
	lt, err := longTerm(k, wrong, 1, security.NewMemoryFloor(dlms.SystemTitle{}, 0))
	if err != nil {
		panic(err)
	}
	c.Global = *lt
}

func blockTransfer(c *client.Config, _ opened) {
	c.Conformance = client.DefaultConformance | apdu.ConformanceGeneralBlockTransfer
}

func small(c *client.Config, _ opened) { c.MaxPDU = 128 }

// scripts are named as the recordings name them.
func scripts() map[string]script {
	all := map[string]script{
		"public":             {func(*client.Config, opened) {}, readPublic},
		"gmac-glo":           {gmac, readSome},
		"gmac-ded":           {with(gmac, dedicated), readSome},
		"gmac-shared":        {with(gmac, shared), readSome},
		"general-shared":     {with(gmac, general, shared), readSome},
		"sha256-shared":      {with(sha256, encrypted, shared), readSome},
		"gmac-general-glo":   {with(gmac, general), readSome},
		"gmac-general-ded":   {with(gmac, general, dedicated), readSome},
		"gmac-authenticated": {with(gmac, authenticatedOnly), readSome},
		"gmac-small":         {with(gmac, small), readSome},
		"gmac-wrong-key":     {with(gmac, wrongKey), readSome},
		"gmac-write":         {gmac, write},
		"gmac-set-blocks":    {gmac, setBlocks},
		"gmac-note":          {gmac, func(s *session) { s.writeNote(2500) }},
		"gmac-note-ded":      {with(gmac, dedicated), func(s *session) { s.writeNote(2500) }},
		"gmac-action":        {gmac, act},
		"gmac-profile":       {gmac, readProfile},
		"gmac-image":         {gmac, sendImage},
		"gmac-key":           {gmac, func(s *session) { s.changeKey("64/0.0.43.0.0.255/2") }},
		"gmac-key-fourth":    {gmac, func(s *session) { s.changeKey("64/0.0.43.0.4.255/2") }},
		"gmac-lists":         {gmac, lists},
		"gmac-list-unknown":  {gmac, func(s *session) { s.list("8/0.0.1.0.0.255/3", "3/9.9.9.9.9.255/2") }},
		"gmac-gbt":           {with(gmac, small, blockTransfer), readSome},
		"public-small":       {small, readPublic},
		"public-data":        {func(*client.Config, opened) {}, readData},
		"lls-data":           {lls, readData},
		"lls":                {lls, readSome},
		"lls-lists":          {lls, lists},
		"lls-wrong":          {with(lls, wrongSecret), readSome},
		"lls-glo":            {with(lls, encrypted), readSome},
		"lls-ded":            {with(lls, encrypted, dedicated), readSome},
		"sha256":             {sha256, readSome},
		"sha256-wrong":       {with(sha256, wrongSecret), readSome},
		"sha256-glo":         {with(sha256, encrypted), readSome},
		"sha256-ded":         {with(sha256, encrypted, dedicated), readSome},
	}
	return all
}

func readPublic(s *session) {
	s.get("1/0.0.42.0.0.255/2")
	s.get("15/0.0.40.0.0.255/2")
	s.get("3/1.0.1.8.0.255/2")
}

// readData is what a server of two objects has.
func readData(s *session) {
	s.get("1/0.0.96.1.0.255/2")
	s.set("1/0.0.96.1.0.255/2", dlms.VisibleString("FROM US"))
	s.get("1/0.0.96.1.0.255/2")
	s.get("8/0.0.1.0.0.255/2")
	s.action("8/0.0.1.0.0.255/1", dlms.Int8(0))
}

func readSome(s *session) {
	s.get("1/0.0.42.0.0.255/2")
	s.get("8/0.0.1.0.0.255/2")
	s.get("3/1.1.21.25.0.255/2")
	s.get("3/1.1.21.25.0.255/3")
	s.get("15/0.0.40.0.0.255/2")
	s.list("8/0.0.1.0.0.255/3", "3/1.1.21.25.0.255/3")
	s.get("3/9.9.9.9.9.255/2")
}

func write(s *session) {
	s.get("8/0.0.1.0.0.255/3")
	s.set("8/0.0.1.0.0.255/3", dlms.Int16(-60))
	s.get("8/0.0.1.0.0.255/3")
	s.set("3/1.1.21.25.0.255/3", dlms.Int8(1))
}

// setBlocks writes more than one APDU holds: a push object list.
func setBlocks(s *session) {
	row := dlms.Structure(dlms.Uint16(3), dlms.OctetString([]byte{1, 1, 21, 25, 0, 255}), dlms.Int8(2), dlms.Uint16(0))
	list := make([]dlms.Data, 40)
	for i := range list {
		list[i] = row
	}
	s.set("40/0.0.25.9.0.255/2", dlms.Array(list...))
	s.get("40/0.0.25.9.0.255/2")
}

// writeNote writes and reads back a text of n bytes.
func (s *session) writeNote(n int) {
	text := bytes.Repeat([]byte("note "), n/5)
	s.set("1/0.0.96.1.0.255/2", dlms.OctetString(text))
	s.note("read back", bytes.Equal(s.get("1/0.0.96.1.0.255/2").Bytes(), text), nil)
}

func act(s *session) {
	s.get("70/0.0.96.3.10.255/3")
	s.action("70/0.0.96.3.10.255/1", dlms.Int8(0))
	s.get("70/0.0.96.3.10.255/3")
	s.action("70/0.0.96.3.10.255/2", dlms.Int8(0))
	s.get("70/0.0.96.3.10.255/3")
	s.action("70/9.9.9.9.9.255/2", dlms.Int8(0))
}

func readProfile(s *session) {
	s.action("7/1.0.99.1.0.255/1", dlms.Int8(0))
	for range 3 {
		s.action("7/1.0.99.1.0.255/2", dlms.Int8(0))
	}
	s.get("7/1.0.99.1.0.255/3")
	s.get("7/1.0.99.1.0.255/4")
	s.get("7/1.0.99.1.0.255/7")
	s.selected("7/1.0.99.1.0.255/2", apdu.EntryDescriptor{FromEntry: 1, ToEntry: 2, FromColumn: 1}.Selection())
	clock := apdu.Column{Class: dlms.ClassClock, Instance: obisClock, Attribute: 2}
	from := dlms.DateTimeOf(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), 0)
	to := dlms.DateTimeOf(time.Date(2035, 1, 1, 0, 0, 0, 0, time.UTC), 0)
	s.selected("7/1.0.99.1.0.255/2", apdu.RangeDescriptor{Column: clock, From: from.Octets(), To: to.Octets()}.Selection())
	s.get("7/1.0.99.1.0.255/2")
}

// sendImage transfers an image of two blocks and a half (BB 4.4.6).
func sendImage(s *session) {
	s.get("18/0.0.44.0.0.255/5")
	size, err := s.get("18/0.0.44.0.0.255/2").Uint()
	if err != nil || size == 0 || size > 4096 {
		s.note("block size", size, err)
		return
	}
	image := make([]byte, 2*size+size/2)
	for i := range image {
		image[i] = byte(i)
	}
	s.action("18/0.0.44.0.0.255/1", dlms.Structure(dlms.OctetString([]byte("MSLIMAGE")), dlms.Uint32(uint32(len(image)))))
	for n := uint32(0); len(image) > 0; n++ {
		block := image[:min(int(size), len(image))]
		image = image[len(block):]
		s.action("18/0.0.44.0.0.255/2", dlms.Structure(dlms.Uint32(n), dlms.OctetString(block)))
	}
	s.get("18/0.0.44.0.0.255/3")
	s.get("18/0.0.44.0.0.255/6")
	s.action("18/0.0.44.0.0.255/3", dlms.Int8(0))
	s.get("18/0.0.44.0.0.255/6")
}

// lists writes and invokes several at once.
func lists(s *session) {
	refs := []apdu.Attribute{{Ref: attribute("8/0.0.1.0.0.255/3")}, {Ref: attribute("3/9.9.9.9.9.255/2")}}
	results, err := s.SetList(s.ctx, refs, []dlms.Data{dlms.Int16(-60), dlms.Uint8(1)})
	s.note("set list", results, err)
	methods := make([]dlms.MethodRef, 2)
	for i, name := range []string{"70/0.0.96.3.10.255/1", "70/0.0.96.3.10.255/2"} {
		if methods[i], err = dlms.ParseMethodRef(name); err != nil {
			panic(err) // the names are constants
		}
	}
	outcomes, err := s.ActionList(s.ctx, methods, []dlms.Data{dlms.Int8(0), dlms.Int8(0)})
	s.note("action list", len(outcomes), err)
	for i, o := range outcomes {
		s.note("  "+methods[i].String(), o.Result, nil)
	}
	s.get("70/0.0.96.3.10.255/3")
}

// changeKey transfers a new encryption key, wrapped under the master key (RFC 3394).
func (s *session) changeKey(method string) {
	next, err := key.GenerateUnicast(seeded(77))
	if err != nil {
		panic(err)
	}
	wrapped, err := s.keys.kek.Wrap(next)
	if err != nil {
		panic(err)
	}
	s.action(method, cosem.KeyTransfer(cosem.KeyGlobalUnicast, wrapped))
}

// perform is our end on one connection: associate, work, release.
func perform(ctx context.Context, r *recording, conn net.Conn) ([]string, error) {
	k, err := r.Keys.open()
	if err != nil {
		return nil, err
	}
	sc, ok := scripts()[r.Script]
	if !ok {
		return nil, fmt.Errorf("no script %q", r.Script)
	}
	cfg := client.Config{Rand: seeded(r.Seed), Timeout: answerTime}
	if cfg.Title, err = dlms.ParseSystemTitle(r.Title); err != nil {
		return nil, err
	}
	if r.PeerTitle != "" {
		if cfg.PeerTitle, err = dlms.ParseSystemTitle(r.PeerTitle); err != nil {
			return nil, err
		}
	}
	lt, err := longTerm(k, k.ek, r.Counter, security.NewMemoryFloor(cfg.PeerTitle, 0))
	if err != nil {
		return nil, err
	}
	cfg.Global = *lt
	sc.configure(&cfg, k)
	l, err := over(r, conn)
	if err != nil {
		return nil, err
	}
	s := &session{ctx: ctx, keys: k}
	s.work(l, cfg, sc)
	s.note("close", "done", l.Close())
	return s.results, nil
}

func (s *session) work(l link.Conn, cfg client.Config, sc script) {
	var err error
	if s.Association, err = client.Open(s.ctx, l, cfg); err != nil {
		s.note("open", nil, err)
		return
	}
	s.note("open", s.Conformance(), nil)
	sc.run(s)
	s.note("release", "success", s.Release(s.ctx))
}

// over puts our client's end of the recording's link on conn.
func over(r *recording, conn net.Conn) (link.Conn, error) {
	switch as := dlms.SAP(r.SAP); r.Link {
	case linkWrapper:
		return wrapper.NewConn(conn, as, dlms.SAPManagement), nil
	case linkHDLC:
		return hdlc.NewConn(conn, hdlc.Config{Client: as, Server: dlms.SAPManagement})
	}
	return nil, errors.New("no link " + r.Link)
}
