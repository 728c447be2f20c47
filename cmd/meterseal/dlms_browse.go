package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

type browseFlags struct {
	meterFlags
	values bool
}

func browseCommand() *cobra.Command {
	var f browseFlags
	c := &cobra.Command{
		Use:   "browse [OBIS-PREFIX...]",
		Short: "List what a meter has, in words",
		Long: `Lists the objects that this client sees: class, OBIS code, what the object is in words, and what the client may do
with it. The list is the meter's own (15/0.0.40.0.0.255/2). A meter that does not show it to this client is asked for
the usual objects, one after the other; which rights there are is then not known.

With --values everything that may be read is read, and shown in words with its unit. The rows of profiles are not read
(see: meterseal dlms profile), and passwords are not shown. An OBIS-PREFIX, as 1.0.1 or 0.0.96, keeps what begins so.

` + linkHelp,
		Example: `  meterseal dlms browse --connect 127.0.0.1:4059
  meterseal dlms browse --connect 127.0.0.1:4059 --keys keys.json --values 1.0.1
  meterseal dlms browse --hdlc 10.0.0.7:4001 --physical 17 --json
  meterseal dlms browse --serial /dev/ttyUSB0 --mode-e --secret password.txt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			for _, a := range args {
				if strings.Trim(a, "0123456789.") != "" {
					return usage(c, "want the beginning of an OBIS code, as 1.0.1, got %q", a)
				}
			}
			return f.with(c, func(ctx context.Context, s *session) error {
				b := &browser{c: c, from: s, json: f.json, values: f.values, prefixes: args}
				return b.run(ctx)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&f.values, "values", false, "read the values too")
	return c
}

// getter reads attributes: an association.
type getter interface {
	Get(ctx context.Context, ref dlms.AttributeRef) (dlms.Data, error)
}

// browser lists the objects of one meter.
type browser struct {
	c        *cobra.Command
	from     getter
	json     bool
	values   bool
	prefixes []string

	probed  bool  // the meter did not list them: no rights are known
	version uint8 // of the association's class, which tells how its rights are written
}

func (b *browser) run(ctx context.Context) error {
	list, err := b.list(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(e cosem.ObjectEntry) bool { return !b.wanted(e.ID.Instance) })
	switch {
	case b.values:
		err = b.readAll(ctx, list)
	case b.json:
		for _, e := range list {
			err = errors.Join(err, printJSON(b.c, b.object(e)))
		}
	default:
		err = b.table(list)
	}
	if err != nil {
		return err
	}
	notef(b.c, "%d objects", len(list))
	return nil
}

func (b *browser) wanted(o dlms.OBIS) bool {
	if len(b.prefixes) == 0 {
		return true
	}
	return slices.ContainsFunc(b.prefixes, func(p string) bool {
		return strings.HasPrefix(o.String()+".", strings.TrimSuffix(p, ".")+".")
	})
}

// list is the meter's own list, else what a probe finds.
func (b *browser) list(ctx context.Context) ([]cosem.ObjectEntry, error) {
	own := dlms.AttributeRef{Class: dlms.ClassAssociationLN, Instance: cosem.CurrentAssociation(), Attribute: 2}
	v, err := b.from.Get(ctx, own)
	if refused, why := refusal(err); refused {
		notef(b.c, "the meter does not list its objects to this client (%s): asking for the usual ones", why)
		b.probed = true
		return b.probe(ctx)
	}
	if err != nil {
		return nil, err
	}
	list, err := cosem.ParseObjectList(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", own, err)
	}
	for _, e := range list {
		if e.ID.Class == dlms.ClassAssociationLN {
			b.version = e.ID.Version
		}
	}
	return list, nil
}

// refusal tells the meter's no to one request from a failure of the association.
func refusal(err error) (bool, dlms.DataAccessResult) {
	var r dlms.DataAccessResult
	return errors.As(err, &r), r
}

// steps is progress in at most so many lines where it is no bar.
const steps = 10

func (b *browser) each(what string, n int, do func(i int) error) error {
	p := newProgress(b.c.ErrOrStderr(), what)
	defer p.close()
	every := 1
	if p.bar == nil {
		every = max(1, n/steps)
	}
	for i := range n {
		if err := do(i); err != nil {
			return err
		}
		if (i+1)%every == 0 || i+1 == n {
			p.set(i+1, n)
		}
	}
	return nil
}

// probe asks for objects that meters have.
func (b *browser) probe(ctx context.Context) (found []cosem.ObjectEntry, err error) {
	usual := usualObjects()
	err = b.each("objects asked for", len(usual), func(i int) error {
		there, err := b.has(ctx, usual[i])
		if there {
			found = append(found, cosem.ObjectEntry{ID: usual[i]})
		}
		return err
	})
	return found, err
}

// has asks for the logical name of an object, and where that is denied for its first value.
func (b *browser) has(ctx context.Context, id cosem.ID) (bool, error) {
	for _, attribute := range []int8{1, 2} {
		_, err := b.from.Get(ctx, dlms.AttributeRef{Class: id.Class, Instance: id.Instance, Attribute: attribute})
		if err == nil {
			return true, nil
		}
		if refused, why := refusal(err); !refused || why != dlms.DataAccessReadWriteDenied {
			if refused {
				err = nil
			}
			return false, err
		}
	}
	return false, nil
}

// shownObject is one object as browse shows it.
type shownObject struct {
	Class      dlms.ClassID `json:"class"`
	OBIS       dlms.OBIS    `json:"obis"`
	Version    uint8        `json:"version"`
	What       string       `json:"what"`
	Attributes []shownPart  `json:"attributes"`
	Methods    []shownPart  `json:"methods,omitempty"`
	entry      cosem.ObjectEntry
}

// shownPart is an attribute or a method.
type shownPart struct {
	Number int8       `json:"number"`
	Name   string     `json:"name"`
	Access string     `json:"access,omitempty"` // empty where it is not known
	Value  *dlms.Data `json:"value,omitempty"`
	Text   string     `json:"text,omitempty"`    // the value in words
	Refuse string     `json:"refused,omitempty"` // why there is no value
}

func (b *browser) object(e cosem.ObjectEntry) *shownObject {
	o := &shownObject{
		Class: e.ID.Class, OBIS: e.ID.Instance, Version: e.ID.Version, What: cosem.Describe(e.ID.Class, e.ID.Instance), entry: e,
	}
	for _, a := range e.Attributes {
		o.Attributes = append(o.Attributes, shownPart{
			Number: a.Attribute, Name: cosem.AttributeName(o.Class, a.Attribute), Access: attributeAccess(a.Mode, b.version),
		})
	}
	for _, m := range e.Methods {
		o.Methods = append(o.Methods, shownPart{
			Number: m.Method, Name: cosem.MethodName(o.Class, m.Method), Access: methodAccess(m.Mode, b.version),
		})
	}
	if b.probed {
		for n := range cosem.Attributes(o.Class) {
			o.Attributes = append(o.Attributes, shownPart{Number: n + 1, Name: cosem.AttributeName(o.Class, n+1)})
		}
	}
	return o
}

// noAccess is what a client may do with most of what it does not need.
const noAccess = "none"

// bitsFrom is the version of class 15 from which rights are bits: read, write, and how requests and answers are
// protected (BB 4.4.4).
const bitsFrom = 3

func attributeAccess(m cosem.AccessMode, version uint8) string {
	if version < bitsFrom {
		return m.String()
	}
	return bitsText(uint8(m), "read", "write")
}

func methodAccess(m, version uint8) string {
	names := [...]string{noAccess, "invoke", "invoke, authenticated"}
	switch {
	case version >= bitsFrom:
		return bitsText(m, "invoke", "")
	case int(m) < len(names):
		return names[m]
	}
	return fmt.Sprintf("access mode %d", m)
}

// bitsText says rights that are bits: what may be done, and how the request has to be protected.
func bitsText(bits uint8, verbs ...string) string {
	var may []string
	for i, verb := range verbs {
		if bits&(1<<i) != 0 && verb != "" {
			may = append(may, verb)
		}
	}
	if len(may) == 0 {
		return noAccess
	}
	text := strings.Join(may, " and ")
	for i, protection := range []string{"authenticated", "encrypted", "signed"} {
		if bits&(4<<i) != 0 {
			text += ", " + protection
		}
	}
	return text
}
