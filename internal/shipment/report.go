package shipment

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// Reason is why a row was refused.
type Reason string

// The reasons.
const (
	Damaged        Reason = "damaged"         // not a row, or a key that does not open or has another check value
	Foreign        Reason = "foreign"         // not of the maker in the header
	Unsupported    Reason = "unsupported"     // a suite or profile that this program does not know
	DuplicateTitle Reason = "duplicate title" // its system title stands in an earlier row
	TitleInUse     Reason = "title in use"    // something else bears its system title
	OtherKeys      Reason = "other keys"      // the meter is known, with other keys, profile or maker
	WeakKey        Reason = "weak key"        // 16 equal bytes, bytes that count, or a key that was published
	DuplicateKey   Reason = "duplicate key"   // one of its keys is another's, or twice its own
)

// Refusal is the error of one row.
type Refusal struct {
	Reason Reason
	Detail string
}

// Error says why, and never what the row holds.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

func refuse(reason Reason, detail string) *Refusal { return &Refusal{reason, detail} }

// RowReport is a row that was refused. Rows count from 1.
type RowReport struct {
	Row    int              `json:"row"`
	Title  dlms.SystemTitle `json:"system_title,omitzero"`
	Reason Reason           `json:"reason"`
	Detail string           `json:"detail,omitempty"`
}

// maxReported bounds the refused rows that a report lists one by one.
const maxReported = 10_000

// Report is what became of the rows of one file.
type Report struct {
	Maker     string      `json:"maker"`
	Batch     string      `json:"batch"`
	Count     int         `json:"count"` // rows that the header promises
	Imported  int         `json:"imported"`
	Unchanged int         `json:"unchanged"` // known, with the same keys
	Refused   int         `json:"refused"`
	Rows      []RowReport `json:"rows,omitempty"`
}

// Refuse notes a refused row.
func (r *Report) Refuse(row int, title dlms.SystemTitle, why *Refusal) {
	r.Refused++
	if len(r.Rows) < maxReported {
		r.Rows = append(r.Rows, RowReport{Row: row, Title: title, Reason: why.Reason, Detail: why.Detail})
	}
}

// Clean reports whether every row that was promised is in, now or from before.
func (r *Report) Clean() bool {
	return r.Refused == 0 && r.Imported+r.Unchanged == r.Count
}

// String is the summary in one line.
func (r *Report) String() string {
	return fmt.Sprintf("shipment %s of %s: %d rows, %d imported, %d unchanged, %d refused",
		r.Batch, r.Maker, r.Count, r.Imported, r.Unchanged, r.Refused)
}
