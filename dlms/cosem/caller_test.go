package cosem_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// near is a Caller that reaches objects without a line in between. Every value travels as bytes, which are overwritten
// afterwards: what an object kept of them would show.
type near struct {
	t       testing.TB
	objects map[dlms.OBIS]cosem.Object
	env     cosem.Env
	// cut breaks the line before call number cut, counted from 1.
	calls, cut int
}

var errLine = errors.New("the line is broken")

func reach(t testing.TB, objects ...cosem.Object) *near {
	n := &near{t: t, objects: map[dlms.OBIS]cosem.Object{}, env: cosem.Env{Context: context.Background()}}
	for _, o := range objects {
		n.objects[o.ID().Instance] = o
	}
	return n
}

func (n *near) object(class dlms.ClassID, o dlms.OBIS) (cosem.Object, error) {
	n.calls++
	if n.calls == n.cut {
		return nil, errLine
	}
	object := n.objects[o]
	if object == nil || object.ID().Class != class {
		return nil, dlms.DataAccessObjectUndefined
	}
	return object, nil
}

// carry takes a value over the line; the returned function overwrites the bytes.
func (n *near) carry(d dlms.Data) (dlms.Data, func()) {
	b, err := d.AppendBinary(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	v, rest, err := dlms.ParseData(b)
	if err != nil || len(rest) != 0 {
		n.t.Fatalf("%s does not travel: %v", d, err)
	}
	return v, func() {
		for i := range b {
			b[i] = 0xEE
		}
	}
}

func (n *near) Get(ctx context.Context, ref dlms.AttributeRef) (dlms.Data, error) {
	return n.GetSelected(ctx, ref, apdu.Selection{})
}

func (n *near) GetSelected(_ context.Context, ref dlms.AttributeRef, s apdu.Selection) (dlms.Data, error) {
	o, err := n.object(ref.Class, ref.Instance)
	if err != nil {
		return dlms.Null(), err
	}
	d, err := o.Get(&n.env, ref.Attribute, s)
	if err != nil {
		return dlms.Null(), cosem.DataAccess(err)
	}
	v, _ := n.carry(d)
	return v, nil
}

func (n *near) Set(_ context.Context, ref dlms.AttributeRef, value dlms.Data) error {
	o, err := n.object(ref.Class, ref.Instance)
	if err != nil {
		return err
	}
	v, over := n.carry(value)
	defer over()
	if err := o.Set(&n.env, ref.Attribute, v); err != nil {
		return cosem.DataAccess(err)
	}
	return nil
}

func (n *near) Action(_ context.Context, ref dlms.MethodRef, arg dlms.Data) (dlms.Data, error) {
	o, err := n.object(ref.Class, ref.Instance)
	if err != nil {
		return dlms.Null(), err
	}
	v, over := n.carry(arg)
	defer over()
	d, err := o.Invoke(&n.env, ref.Method, v)
	if err != nil {
		return dlms.Null(), cosem.Action(err)
	}
	d, _ = n.carry(d)
	return d, nil
}

// kept is a value of a device.
func kept[T any](v *T) cosem.Stored[T] {
	return cosem.Stored[T]{
		Load: func(*cosem.Env) (T, error) { return *v, nil },
		Save: func(_ *cosem.Env, changed T) error { *v = changed; return nil },
	}
}

// value is a typed value of the package.
type value interface{ Data() dlms.Data }

type parser func(dlms.Data) (value, error)

func parses[T value](parse func(dlms.Data) (T, error)) parser {
	return func(d dlms.Data) (value, error) { return parse(d) }
}

// fuzz gives the parsers every value that the bytes hold. What they accept must read the same when it is written.
func fuzz(f *testing.F, seeds []value, parsers ...parser) {
	for _, s := range seeds {
		b, err := s.Data().AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, err := dlms.ParseData(b)
		if err != nil {
			return
		}
		for i, parse := range parsers {
			v, err := parse(d)
			if err != nil {
				continue
			}
			written := v.Data()
			again, err := parse(written)
			if err != nil || !again.Data().Equal(written) {
				t.Errorf("parser %d: %s reads as %s, %v", i, d, written, err)
			}
		}
	})
}

// travels checks that a value is read back as it was written.
func travels[T value](t *testing.T, values *rapid.Generator[T], parse func(dlms.Data) (T, error)) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		v := values.Draw(rt, "value")
		b, err := v.Data().AppendBinary(nil)
		if err != nil {
			rt.Fatal(err)
		}
		d, rest, err := dlms.ParseData(b)
		if err != nil || len(rest) != 0 {
			rt.Fatal(err)
		}
		got, err := parse(d)
		if err != nil {
			rt.Fatalf("%s: %v", v.Data(), err)
		}
		clear(b) // what was parsed is a copy
		if diff := cmp.Diff(v, got, cmpopts.EquateEmpty(), cmp.Comparer(dlms.Data.Equal)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// Generators of what values are made of.
var (
	anyOctets = rapid.SliceOfN(rapid.Byte(), 0, 20)
	anyOBIS   = rapid.Custom(func(t *rapid.T) (o dlms.OBIS) {
		copy(o[:], rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "obis"))
		return o
	})
	anyClass = rapid.Custom(func(t *rapid.T) dlms.ClassID { return dlms.ClassID(rapid.Uint16().Draw(t, "class")) })
	anyTime  = rapid.Custom(func(t *rapid.T) dlms.DateTime {
		m := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), 0).UTC()
		dt := dlms.DateTimeOf(m, dlms.ClockStatus(rapid.Byte().Draw(t, "status")))
		for _, i := range rapid.SliceOfN(rapid.IntRange(2, 8), 0, 7).Draw(t, "wild") {
			dt[i] = dlms.Unspecified
		}
		return dt
	})
	anyClock = rapid.Custom(func(t *rapid.T) dlms.TimeOfDay { return anyTime.Draw(t, "time").TimeOfDay() })
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func got[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func refused(t testing.TB, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("want %v, got %v", want, err)
	}
}
