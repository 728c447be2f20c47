package decode

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// maxTries bounds how many keys and titles are tried on one APDU.
const maxTries = 256

// protected is a ciphered APDU on its way to be opened.
type protected struct {
	control security.Control
	counter dlms.InvocationCounter
	content []byte
	from    int // of the content, in the buffer
	// titles are those that the originator may have, in order.
	titles []dlms.SystemTitle
	// dedicated says that the session's key protects it.
	dedicated bool
	// general is set for general-ciphering.
	general *apdu.GeneralCiphering
	// plain is the tag that must come out, 0 for any.
	plain apdu.Tag
}

// opener is a key to try, and what it is called.
type opener struct {
	name   string
	cipher *security.Cipher
}

// ciphered reads the glo- and ded- forms: length, security header, content.
func (c *cursor) ciphered(g *Node, tag apdu.Tag) {
	var p protected
	p.plain, p.dedicated, _ = apdu.PlainTag(tag)
	p.titles = c.titles(fromClient(p.plain))
	c.protected(g, &p)
}

func fromClient(t apdu.Tag) bool {
	switch t {
	case apdu.TagInitiateRequest, apdu.TagGetRequest, apdu.TagSetRequest, apdu.TagActionRequest:
		return true
	}
	return false
}

// titles lists the titles that are known, those of the side that speaks first.
func (c *cursor) titles(client bool) (list []dlms.SystemTitle) {
	known := make([]dlms.SystemTitle, 0, 2*len(c.d.keys))
	for i := range c.d.keys {
		known = append(known, c.d.keys[i].Title, c.d.keys[i].Peer)
	}
	if client {
		return unique(c.d.clients, known, c.d.meters)
	}
	return unique(c.d.meters, known, c.d.clients)
}

func unique(lists ...[]dlms.SystemTitle) (out []dlms.SystemTitle) {
	seen := map[dlms.SystemTitle]bool{{}: true}
	for _, l := range lists {
		for _, t := range l {
			if !seen[t] {
				seen[t] = true
				out = append(out, t)
			}
		}
	}
	return out
}

// generalCiphered reads general-glo-ciphering and general-ded-ciphering.
func (c *cursor) generalCiphered(g *Node, tag apdu.Tag) {
	p := protected{dedicated: tag == apdu.TagGeneralDed}
	title, n := c.title(g, "system-title")
	if n.Error != "" {
		c.rest(g)
		return
	}
	if p.titles = []dlms.SystemTitle{title}; title.IsZero() {
		p.titles = c.titles(false)
	}
	c.protected(g, &p)
}

// title reads a system title of eight bytes or of none.
func (c *cursor) title(g *Node, name string) (t dlms.SystemTitle, n *Node) {
	b, n := c.octets(g, name)
	if !c.ok() || len(b) == 0 {
		n.Value = either(c.ok(), "none", "")
		return t, n
	}
	t, err := dlms.SystemTitleFromBytes(b)
	if err != nil {
		n.Error = plain(err)
		return t, n
	}
	n.Value, _ = sayTitle(append([]byte{berOctets, dlms.SystemTitleSize}, b...)) // of the right size: no error
	return t, n
}

// generalCiphering reads general-ciphering (GB 9.2.7.2.4).
func (c *cursor) generalCiphering(g *Node) {
	start := g.Offset
	id, n := c.octets(g, "transaction-id")
	n.Value = fmt.Sprintf("%X", id)
	title, n := c.title(g, "originator-system-title")
	c.title(g, "recipient-system-title")
	b, n2 := c.octets(g, "date-time")
	c.time(n2, b)
	c.octets(g, "other-information")
	c.keyInfo(g)
	p := protected{titles: []dlms.SystemTitle{title}}
	if title.IsZero() && n.Error == "" {
		p.titles = c.titles(false)
	}
	if c.ok() {
		end := c.off
		ahead := cursor{d: &decoder{budget: 2}, buf: c.buf, off: end, end: c.end}
		if size := ahead.length(&Node{}, ""); ahead.ok() {
			if v, err := apdu.ParseGeneralCiphering(c.buf[start : ahead.off+size]); err == nil {
				p.general = &v
			} else {
				n.Note = plain(err)
			}
		}
	}
	c.protected(g, &p)
}

func (c *cursor) keyInfo(g *Node) {
	if !c.boolean(g, "key-info-present") {
		return
	}
	v, n := c.uint(g, "key-info", 1)
	if !c.ok() {
		return
	}
	n.Value, n.Number = apdu.KeyInfoKind(v+1).String(), ""
	switch apdu.KeyInfoKind(v + 1) {
	case apdu.KeyInfoIdentified:
		_, n = c.uint(g, "key-id", 1)
		n.Note = map[string]string{"0": "global unicast encryption key", "1": "global broadcast encryption key"}[n.Value]
	case apdu.KeyInfoWrapped:
		_, n = c.uint(g, "kek-id", 1)
		n.Note = map[string]string{"0": "master key"}[n.Value]
		c.octets(g, "key-ciphered-data")
	case apdu.KeyInfoAgreed:
		c.octets(g, "key-parameters")
		c.octets(g, "key-ciphered-data")
	default:
		n.Error = "want 0 to 2"
		c.bad = true
		c.rest(g)
	}
}

// protected reads security header and content, and opens it where a key fits.
func (c *cursor) protected(g *Node, p *protected) {
	size := c.length(g, "ciphered-content")
	if !c.ok() {
		return
	}
	body := c.part(size)
	v, n := body.uint(g, "security-control", 1)
	p.control = security.Control(v)
	n.Value, n.Number = p.control.String(), ""
	v, _ = body.uint(g, "invocation-counter", 4)
	if !body.ok() {
		return
	}
	p.counter = dlms.InvocationCounter(v)
	p.from, p.content = body.off, body.buf[body.off:body.end]
	switch p.control & security.AuthenticatedEncrypted {
	case security.Authenticated:
		body.authenticatedOnly(g, p)
	case 0:
		body.inPlace(g, "content", "neither authenticated nor encrypted", 0)
	default:
		body.encrypted(g, p)
	}
}

// inPlace shows a content that is not encrypted, of all but the last tag bytes.
func (c *cursor) inPlace(g *Node, name, note string, tag int) *Node {
	inner := c.part(c.left() - tag)
	n := c.add(g, name, inner.off, inner.end)
	n.Bytes, n.Note = nil, note
	if inner.depth++; inner.depth > maxDepth {
		inner.fail(n, "limit", "nested too deep")
	}
	inner.only(n)
	return n
}

func (c *cursor) authenticatedOnly(g *Node, p *protected) {
	if c.left() < security.TagSize {
		c.fail(g, "content", "truncated: want a tag of %d bytes, got %d", security.TagSize, c.left())
		return
	}
	_, who, err := c.open(p)
	n := c.inPlace(g, "content", "not verified: "+either(err == nil, "no key for it", "see the tag"), security.TagSize)
	tag := c.take(g, "authentication-tag", security.TagSize)
	switch {
	case who != "":
		n.Note = "authenticated under the " + who
	case err != nil:
		tag.Error = plain(err)
	}
}

func (c *cursor) encrypted(g *Node, p *protected) {
	body, tag := c.left(), 0
	if p.control.Has(security.Authenticated) {
		if body < security.TagSize {
			c.fail(g, "content", "truncated: want a tag of %d bytes, got %d", security.TagSize, body)
			return
		}
		tag = security.TagSize
		body -= tag
	}
	n := c.take(g, "ciphertext", body)
	n.Value = strconv.Itoa(body) + " bytes"
	if tag > 0 {
		n = c.take(g, "authentication-tag", tag)
	}
	text, who, err := c.open(p)
	switch {
	case err != nil:
		n.Error = plain(err)
		return
	case who == "":
		n.Note = "not deciphered: no key for it"
		return
	}
	w, inner := c.derive(g, "plaintext", text)
	if tag > 0 {
		w.Note = "authenticated under the " + who
	} else {
		w.Note = "NOT AUTHENTICATED: anybody may have written it; deciphered under the " + who
	}
	if p.plain == 0 && isTelegram(text) {
		inner.telegram(w)
		return
	}
	if p.plain != 0 && len(text) > 0 && apdu.Tag(text[0]) != p.plain {
		w.Error = fmt.Sprintf("want %s: another key or title, or damaged", p.plain)
	}
	inner.only(w)
}

// open tries the keys. who is empty when there is none to try; err says that none fits.
func (c *cursor) open(p *protected) (text []byte, who string, err error) {
	if p.control.Has(security.Compressed) {
		return nil, "", security.ErrCompressed
	}
	control := p.control
	if control.EncryptedOnly() {
		control = security.Encrypted // suites 0 and 1 encrypt alike; nothing but the counter mode is undone here
	}
	best := 0
	tries := 0
	for _, o := range c.openers(p) {
		for _, title := range p.titles {
			if tries++; tries > maxTries {
				return text, who, err
			}
			out, e := o.open(control, title, p)
			if e != nil {
				err = e
				continue
			}
			if !control.EncryptedOnly() {
				return out, o.name, nil
			}
			if likely := likelihood(out, p.plain); likely > best {
				text, who, best = out, o.name, likely
			}
		}
	}
	if control.EncryptedOnly() && best == 0 && tries > 0 {
		return nil, "", errors.New("no key makes an apdu of it: another key or title, or damaged")
	}
	if who != "" {
		err = nil
	}
	return text, who, err
}

func (o *opener) open(control security.Control, title dlms.SystemTitle, p *protected) ([]byte, error) {
	switch {
	case control.EncryptedOnly():
		return o.cipher.OpenUnauthenticated(nil, control, title, p.counter, p.content)
	case p.general != nil:
		return o.cipher.OpenWith(nil, control, title, p.counter, p.general.AAD(), p.content)
	}
	return o.cipher.Open(nil, control, title, p.counter, p.content)
}

// openers lists the keys that an APDU may be under, each with the authentication key of its set and without one.
func (c *cursor) openers(p *protected) (list []opener) {
	add := func(name string, k *Keys, aead func() (cipher.AEAD, error)) {
		a, err := aead()
		if err != nil {
			return
		}
		if k != nil && !k.Title.IsZero() {
			name += " of " + k.Title.String()
		}
		if k != nil && !k.Authentication.IsZero() {
			if s, err := security.NewCipher(a, k.Authentication); err == nil {
				list = append(list, opener{name + " with the authentication key", s})
			}
		}
		if s, err := security.NewCipher(a, key.Authentication{}); err == nil {
			list = append(list, opener{name, s})
		}
	}
	for i := range c.d.keys {
		k := &c.d.keys[i]
		if p.dedicated {
			for _, s := range c.d.sessions {
				add("dedicated key of the initiate-request", k, s.AEAD)
			}
			if !k.Dedicated.IsZero() {
				add("dedicated key", k, k.Dedicated.AEAD)
			}
			continue
		}
		for _, g := range k.global(p) {
			add(g.name, k, g.key.AEAD)
		}
	}
	if len(c.d.keys) == 0 && p.dedicated {
		for _, s := range c.d.sessions {
			add("dedicated key of the initiate-request", nil, s.AEAD)
		}
	}
	return list
}

type globalKey struct {
	name string
	key  key.Unicast
}

// global lists the global keys of a set that an APDU may be under.
func (k *Keys) global(p *protected) (list []globalKey) {
	broadcast := p.control.Has(security.Broadcast)
	if g := p.general; g != nil {
		switch g.Key.Kind {
		case apdu.KeyInfoWrapped:
			if u, err := k.Master.UnwrapUnicast(g.Key.Ciphered); err == nil {
				list = append(list, globalKey{"wrapped key", u})
			}
			return list
		case apdu.KeyInfoIdentified:
			broadcast = g.Key.KeyID == 1
		}
	}
	if broadcast && !k.Broadcast.IsZero() {
		list = append(list, globalKey{"broadcast key", k.Broadcast})
	}
	if !broadcast && !k.Unicast.IsZero() {
		list = append(list, globalKey{"unicast key", k.Unicast})
	}
	return list
}
