package cosem

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// SortMethod is sort_method of a Profile generic (BB 4.3.6): in which order the rows stand, and which one makes room
// for a new one in a full buffer.
type SortMethod uint8

// Sort methods. First in first out stands in the order of capture, last in first out with the newest row first; in
// both the oldest row makes room. The others stand by the value of the sort object, and the last row makes room.
const (
	SortFIFO             SortMethod = 1
	SortLIFO             SortMethod = 2
	SortLargest          SortMethod = 3
	SortSmallest         SortMethod = 4
	SortNearestToZero    SortMethod = 5
	SortFarthestFromZero SortMethod = 6
)

// String returns the words of BB.
func (m SortMethod) String() string {
	names := [...]string{
		"", "first in first out", "last in first out", "largest first", "smallest first", "nearest to zero first",
		"farthest from zero first",
	}
	if m >= SortFIFO && int(m) < len(names) {
		return names[m]
	}
	return "sort method " + strconv.Itoa(int(m))
}

// byValue reports whether the rows stand by the value of the sort object.
func (m SortMethod) byValue() bool { return m >= SortLargest && m <= SortFarthestFromZero }

// ProfileShape is what a Profile generic captures, when, and in which order (BB 4.3.6, attributes 3 to 6 and 8).
type ProfileShape struct {
	// Columns are the capture objects.
	Columns []apdu.Column
	// Period is capture_period in whole seconds, 0 for a profile that is written on events.
	Period time.Duration
	// Sort is the sort method; 0 means SortFIFO.
	Sort SortMethod
	// SortObject is one of the columns where the method is one by value, else nothing.
	SortObject apdu.Column
	// Capacity is profile_entries.
	Capacity uint32
}

// Bounds of a profile whose shape can be changed, ours.
const (
	maxProfileColumns = 64
	maxBufferRows     = 1 << 16
	maxRowBytes       = 4096
)

// Validate checks what a buffer in memory can hold.
func (s ProfileShape) Validate() error {
	if s.Period < 0 || s.Period%time.Second != 0 || s.Period > time.Duration(1<<32-1)*time.Second {
		return fmt.Errorf("profile: %w: capture period: want whole seconds, got %s", ErrValue, s.Period)
	}
	if s.Sort > SortFarthestFromZero {
		return fmt.Errorf("profile: %w: %s", ErrValue, s.Sort)
	}
	if s.Sort.byValue() && s.column(s.SortObject) < 0 {
		return fmt.Errorf("profile: %w: the sort object is no column", ErrValue)
	}
	if err := outside("profile entries", int(min(s.Capacity, 1<<31-1)), 1, maxBufferRows); err != nil {
		return err
	}
	return outside("capture objects", len(s.Columns), 0, maxProfileColumns)
}

// column returns the index of a capture object, or -1.
func (s *ProfileShape) column(c apdu.Column) int { return slices.Index(s.Columns, c) }

func profileFields() []field[ProfileShape] {
	return []field[ProfileShape]{
		fieldOf(func(s *ProfileShape) *[]apdu.Column { return &s.Columns }, listData[apdu.Column],
			listOf("capture object", apdu.ParseColumn)),
		fieldOf(func(s *ProfileShape) *time.Duration { return &s.Period }, secondsData, parseSeconds),
		fieldOf(func(s *ProfileShape) *SortMethod { return &s.Sort }, sortData, parseEnum[SortMethod]),
		fieldOf(func(s *ProfileShape) *apdu.Column { return &s.SortObject }, apdu.Column.Data, apdu.ParseColumn),
		{}, // entries_in_use
		fieldOf(func(s *ProfileShape) *uint32 { return &s.Capacity }, dlms.Uint32, parseUint32),
	}
}

func sortData(m SortMethod) dlms.Data {
	if m == 0 {
		m = SortFIFO
	}
	return dlms.Enum(uint8(m))
}

func secondsData(d time.Duration) dlms.Data { return dlms.Uint32(uint32(d / time.Second)) }

func parseSeconds(d dlms.Data) (time.Duration, error) {
	n, err := parseUint32(d)
	return time.Duration(n) * time.Second, err
}
