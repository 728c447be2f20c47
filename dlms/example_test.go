package dlms_test

import (
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// A value as it comes out of a meter, in words.
func ExampleParseData() {
	d, rest, err := dlms.ParseData([]byte{0x02, 0x02, 0x0F, 0x00, 0x16, 0x1E})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d, len(rest))
	unit, err := d.At(1).Uint()
	fmt.Println(unit, err)
	// Output:
	// structure{integer 0, enum 30} 0
	// 30 <nil>
}

// Go values out of a structure, and back into the same types.
func ExampleUnmarshal() {
	type reading struct {
		At     time.Time
		Status uint8 `dlms:"enum"`
		Energy int   `dlms:"double-long-unsigned"`
	}
	at := time.Date(2021, time.June, 3, 14, 0, 0, 0, time.FixedZone("", 2*3600))
	row := dlms.Structure(dlms.DateTimeOf(at, 0).Octets(), dlms.Enum(8), dlms.Uint32(123456))

	var r reading
	if err := dlms.Unmarshal(row, &r); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.At.Format(time.RFC3339), r.Status, r.Energy)

	back, err := dlms.Marshal(r)
	fmt.Println(back.Equal(row), err)
	// Output:
	// 2021-06-03T14:00:00+02:00 8 123456
	// true <nil>
}

// A value that does not fit says so.
func ExampleUnmarshal_refused() {
	var n uint8
	fmt.Println(dlms.Unmarshal(dlms.Uint16(300), &n))
	// Output: unmarshal data: data: out of range: 300 does not fit uint8
}

// Rows of a load curve whose status did not change.
func ExampleExpandNulls() {
	rows, err := dlms.ExpandNulls([]dlms.Data{
		dlms.Structure(dlms.Uint8(8), dlms.Uint16(230)),
		dlms.Structure(dlms.Null(), dlms.Uint16(231)),
		dlms.Structure(dlms.Null(), dlms.Null()),
	})
	fmt.Println(rows[2], err)
	// Output: structure{unsigned 8, long-unsigned 231} <nil>
}

func ExampleCompactArray() {
	d, err := dlms.CompactArray(dlms.Uint16(1), dlms.Uint16(2), dlms.Uint16(3))
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := d.AppendBinary(nil)
	fmt.Printf("% X %v\n", b, err)
	// Output: 13 12 06 00 01 00 02 00 03 <nil>
}
