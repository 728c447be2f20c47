package cosem

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// AttributeReader reads attributes of a device from within: for a capture or a push, with no client and no rights.
type AttributeReader interface {
	// ReadAttribute reads one attribute of the device in env.
	ReadAttribute(env *Env, ref dlms.AttributeRef) (dlms.Data, error)
}

// ObjectSet is the objects of a model as an [AttributeReader].
type ObjectSet struct{ objects map[objectName]Object }

type objectName struct {
	class    dlms.ClassID
	instance dlms.OBIS
}

// NewObjectSet returns the set of these objects.
func NewObjectSet(objects ...Object) *ObjectSet {
	s := &ObjectSet{objects: make(map[objectName]Object, len(objects))}
	for _, o := range objects {
		s.objects[objectName{o.ID().Class, o.ID().Instance}] = o
	}
	return s
}

// ReadAttribute implements [AttributeReader].
func (s *ObjectSet) ReadAttribute(env *Env, ref dlms.AttributeRef) (dlms.Data, error) {
	o := s.objects[objectName{ref.Class, ref.Instance}]
	if o == nil {
		return dlms.Null(), dlms.DataAccessObjectUndefined
	}
	return o.Get(env, ref.Attribute, apdu.Selection{})
}

// readColumn reads what a capture object names: an attribute, one element of it (Index from 1), or with attribute 0
// all attributes as a structure (BB 4.3.6). Attribute 0 of the class that is captured into is refused by its reader.
func readColumn(env *Env, from AttributeReader, c apdu.Column) (dlms.Data, error) {
	ref := dlms.AttributeRef{Class: c.Class, Instance: c.Instance, Attribute: c.Attribute}
	if c.Attribute == 0 {
		return readAll(env, from, ref)
	}
	d, err := from.ReadAttribute(env, ref)
	if err != nil || c.Index == 0 {
		return d, err
	}
	if int(c.Index) > len(d.Elements()) {
		return dlms.Null(), fmt.Errorf("%s: %w: element %d of %d", ref, ErrValue, c.Index, len(d.Elements()))
	}
	return d.At(int(c.Index) - 1), nil
}

func readAll(env *Env, from AttributeReader, ref dlms.AttributeRef) (dlms.Data, error) {
	n := Attributes(ref.Class)
	if n == 0 {
		return dlms.Null(), fmt.Errorf("%s: %w: all attributes of an unknown class", ref, ErrValue)
	}
	list := make([]dlms.Data, n)
	for i := range list {
		ref.Attribute = int8(i + 1)
		d, err := from.ReadAttribute(env, ref)
		if err != nil {
			return dlms.Null(), err
		}
		list[i] = d
	}
	return dlms.Structure(list...), nil
}

// ProfileBuffer is a bounded buffer of a Profile generic in memory, which captures what the objects of the device say.
// It is safe for concurrent use; the readers of its capture objects are called without its lock.
type ProfileBuffer struct {
	from AttributeReader

	mu    sync.Mutex
	shape ProfileShape
	// rows stand in the order of capture for the first two sort methods, else in that of the profile.
	rows []capturedRow
	// disordered is set once a row was captured at an earlier time than the one before it.
	disordered bool
}

type capturedRow struct {
	at     time.Time
	values []dlms.Data
}

// NewProfileBuffer checks the shape. Columns may be wrong in what they name: a capture then fails.
func NewProfileBuffer(shape ProfileShape, from AttributeReader) (*ProfileBuffer, error) {
	b := &ProfileBuffer{from: from}
	return b, b.SetShape(shape)
}

// Shape returns the shape.
func (b *ProfileBuffer) Shape() ProfileShape {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shape
	s.Columns = slices.Clone(s.Columns)
	return s
}

// SetShape changes the shape and empties the buffer: rows of two shapes never stand together.
func (b *ProfileBuffer) SetShape(s ProfileShape) error {
	if s.Sort == 0 {
		s.Sort = SortFIFO
	}
	if err := s.Validate(); err != nil {
		return err
	}
	s.Columns = slices.Clone(s.Columns)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shape, b.rows, b.disordered = s, nil, false
	return nil
}

// Reset empties the buffer.
func (b *ProfileBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows, b.disordered = nil, false
}

// NextCapture returns the first moment after t at which the capture period begins anew, counted from 1970-01-01 UTC;
// the zero time for a profile without a period.
func (b *ProfileBuffer) NextCapture(t time.Time) time.Time {
	period := b.Shape().Period
	if period <= 0 {
		return time.Time{}
	}
	s := int64(period / time.Second)
	return time.Unix((t.Unix()/s+1)*s, 0).In(t.Location())
}

// Capture reads the capture objects and adds a row that was captured at a moment. It adds nothing where one of them
// cannot be read, where the row is longer than 4,096 bytes, or where the sort object is no number.
func (b *ProfileBuffer) Capture(env *Env, at time.Time) error {
	shape := b.Shape()
	values := make([]dlms.Data, len(shape.Columns))
	for i, c := range shape.Columns {
		d, err := readColumn(env, b.from, c)
		if err != nil {
			return fmt.Errorf("capture column %d: %w", i+1, err)
		}
		values[i] = d
	}
	raw, err := dlms.Structure(values...).AppendBinary(nil)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	if len(raw) > maxRowBytes {
		return fmt.Errorf("capture: %w: a row of %d bytes", ErrValue, len(raw))
	}
	row, _, err := dlms.ParseData(raw) // the row's own copy
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return b.add(&shape, capturedRow{at, row.Elements()})
}

func (b *ProfileBuffer) add(shape *ProfileShape, row capturedRow) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shape.Sort != shape.Sort || b.shape.SortObject != shape.SortObject || !slices.Equal(b.shape.Columns, shape.Columns) {
		return fmt.Errorf("capture: %w: the shape was changed meanwhile", ErrValue)
	}
	if b.shape.Sort.byValue() {
		return b.insert(row)
	}
	if len(b.rows) >= int(b.shape.Capacity) {
		b.rows[0] = capturedRow{} // or its values would live as long as the array
		b.rows = b.rows[1:]
	}
	if n := len(b.rows); n > 0 && row.at.Before(b.rows[n-1].at) {
		b.disordered = true
	}
	b.rows = append(b.rows, row)
	return nil
}

// insert puts a row where its sort object says, behind its equals, and lets the last row go.
func (b *ProfileBuffer) insert(row capturedRow) error {
	at := b.shape.column(b.shape.SortObject)
	if _, err := b.shape.Sort.compare(row.values[at], row.values[at]); err != nil {
		return fmt.Errorf("capture: sort object: %w", err)
	}
	i := sort.Search(len(b.rows), func(i int) bool {
		c, err := b.shape.Sort.compare(b.rows[i].values[at], row.values[at])
		return err == nil && c > 0
	})
	b.rows = slices.Insert(b.rows, i, row)
	if len(b.rows) > int(b.shape.Capacity) {
		b.rows[len(b.rows)-1] = capturedRow{}
		b.rows = b.rows[:len(b.rows)-1]
	}
	return nil
}

// compare orders two sort values: less than 0 where a stands before b.
func (m SortMethod) compare(a, b dlms.Data) (int, error) {
	if m == SortNearestToZero || m == SortFarthestFromZero {
		var err error
		if a, err = absolute(a); err != nil {
			return 0, err
		}
		if b, err = absolute(b); err != nil {
			return 0, err
		}
	}
	c, err := compareNumbers(a, b)
	if m == SortLargest || m == SortFarthestFromZero {
		c = -c
	}
	return c, err
}

func (b *ProfileBuffer) length() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint32(len(b.rows))
}

func (b *ProfileBuffer) row(i uint32) ([]dlms.Data, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := uint32(len(b.rows))
	if i >= n {
		return nil, dlms.DataAccessTemporaryFailure // the buffer was emptied meanwhile
	}
	if b.shape.Sort == SortLIFO {
		i = n - 1 - i
	}
	return b.rows[i].values, nil
}

func (b *ProfileBuffer) find(t time.Time) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint32(sort.Search(len(b.rows), func(i int) bool { return !b.rows[i].at.Before(t) }))
}

func (b *ProfileBuffer) isDisordered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.disordered
}

// bufferRows is the buffers of many devices as Rows.
type bufferRows func(env *Env) (*ProfileBuffer, error)

var _ DisorderedRows = bufferRows(nil)

func (of bufferRows) Len(env *Env) (uint32, error) {
	b, err := of(env)
	if err != nil {
		return 0, err
	}
	return b.length(), nil
}

func (of bufferRows) Row(env *Env, i uint32) ([]dlms.Data, error) {
	b, err := of(env)
	if err != nil {
		return nil, err
	}
	return b.row(i)
}

func (of bufferRows) Find(env *Env, t time.Time) (uint32, error) {
	b, err := of(env)
	if err != nil {
		return 0, err
	}
	return b.find(t), nil
}

// Disordered implements [DisorderedRows].
func (of bufferRows) Disordered(env *Env) (bool, error) {
	b, err := of(env)
	if err != nil {
		return false, err
	}
	return b.isDisordered(), nil
}

// BufferedProfileConfig describes a Profile generic over a ProfileBuffer.
type BufferedProfileConfig struct {
	// Instance is the logical name.
	Instance dlms.OBIS
	// Buffer returns the buffer of the device in env.
	Buffer func(env *Env) (*ProfileBuffer, error)
	// Local returns the meter's zone, in which a range without deviation is read; nil is UTC.
	Local func(env *Env) *time.Location
	// Now returns the time of the meter, at which a row is captured; nil is the time of the host.
	Now func(env *Env) time.Time
}

// NewBufferedProfile returns a Profile generic that captures (method 2), is reset (method 1), and whose shape can be
// written by clients that have the right.
func NewBufferedProfile(cfg BufferedProfileConfig) Object {
	now := cfg.Now
	if now == nil {
		now = func(env *Env) time.Time { return env.Now }
	}
	with := func(f func(env *Env, b *ProfileBuffer) error) func(*Env) error {
		return func(env *Env) error {
			b, err := cfg.Buffer(env)
			if err != nil {
				return err
			}
			return f(env, b)
		}
	}
	return NewProfileGeneric(ProfileConfig{
		Instance: cfg.Instance, Rows: bufferRows(cfg.Buffer), Local: cfg.Local,
		Shape: Stored[ProfileShape]{
			Load: func(env *Env) (s ProfileShape, err error) {
				err = with(func(_ *Env, b *ProfileBuffer) error { s = b.Shape(); return nil })(env)
				return s, err
			},
			Save: func(env *Env, s ProfileShape) error {
				return with(func(_ *Env, b *ProfileBuffer) error { return b.SetShape(s) })(env)
			},
		},
		Reset:   with(func(_ *Env, b *ProfileBuffer) error { b.Reset(); return nil }),
		Capture: with(func(env *Env, b *ProfileBuffer) error { return b.Capture(env, now(env)) }),
	})
}
