package keylog

import (
	"fmt"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// Use is what an entry says of one use of a key.
type Use struct {
	// As is the client that the holder associates as: "read/write", "broadcast", "terminal".
	As string
	// Ref is the key.
	Ref role.KeyRef
	// Grant is the grant that it is used under, empty for a concentrator's own.
	Grant string
	// LastDay is that of a key which was derived from it, zero for the key itself.
	LastDay dlms.Day
}

// String is the text of an entry: "association read/write under 4D534C0000000001 CC_LAN v3", and for a terminal
// "association terminal under 4D534C0000000001 CC_LOCALE v1 until 2026-11-30, grant 0011223344556677".
func (u Use) String() string {
	s := fmt.Sprintf("association %s under %s", u.As, u.Ref)
	if !u.LastDay.IsZero() {
		s += " until " + u.LastDay.String()
	}
	if u.Grant != "" {
		s += ", grant " + u.Grant
	}
	return s
}

// ParseUse reads what String wrote. Entries that say something else, or that somebody made up, are no use.
func ParseUse(text string) (u Use, ok bool) {
	rest, ok := strings.CutPrefix(text, "association ")
	if !ok {
		return u, false
	}
	rest, u.Grant, _ = strings.Cut(rest, ", grant ")
	if u.As, rest, ok = strings.Cut(rest, " under "); !ok {
		return Use{}, false
	}
	name, day, dated := strings.Cut(rest, " until ")
	var err error
	if dated {
		if u.LastDay, err = dlms.ParseDay(day); err != nil {
			return Use{}, false
		}
	}
	if u.Ref, err = role.ParseKeyRef(name); err != nil || u.String() != text {
		return Use{}, false
	}
	return u, true
}
