package role

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meterseal/meterseal/dlms"
)

// ParseKeyRef reads what [KeyRef.String] returns.
func ParseKeyRef(s string) (k KeyRef, err error) {
	parts := strings.Split(s, " ")
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "v") {
		return KeyRef{}, fmt.Errorf("key: want METER ROLE vN, got %d words", len(parts))
	}
	if k.Meter, err = dlms.ParseSystemTitle(parts[0]); err != nil {
		return KeyRef{}, err
	}
	if k.Role, err = Parse(parts[1]); err != nil {
		return KeyRef{}, err
	}
	n, err := strconv.ParseUint(parts[2][1:], 10, 32)
	if err != nil {
		return KeyRef{}, fmt.Errorf("key version: want a number, got %d characters", len(parts[2])-1)
	}
	k.Version = uint32(n)
	return k, nil
}
