package keylog

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

func TestAUseGoesThereAndBackAndNothingElseIsOne(t *testing.T) {
	ref := role.KeyRef{Meter: dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}, Role: role.CCLAN, Version: 3}
	local := ref
	local.Role = role.CCLOCALE
	for _, u := range []Use{
		{As: "read/write", Ref: ref},
		{As: "broadcast", Ref: ref},
		{As: "terminal", Ref: local, Grant: "0011"},
		{As: "terminal", Ref: local, Grant: "0011", LastDay: dlms.Day{0x07, 0xEA, 11, 30}},
	} {
		if got, ok := ParseUse(u.String()); !ok || got != u {
			t.Errorf("%q: got %+v, %v", u, got, ok)
		}
	}
	for _, s := range []string{
		"", "association", "association x under ", "started", "association x under 4D534C0000000001 CC_LAN",
		"association x under 4D534C0000000001 CC_LAN v", "association x under 4D534C0000000001 CC_LAN v03",
		"association x under 4D534C0000000001 CC_XYZ v3", "association x under 4D534C0000000001 CC_LAN v3 until tomorrow",
		"association x under 4d534c0000000001 CC_LAN v3", "association x under 4D534C0000000001 CC_LAN v3, grant ",
	} {
		if got, ok := ParseUse(s); ok {
			t.Errorf("%q: got %+v", s, got)
		}
	}
}

func FuzzParseUse(f *testing.F) {
	f.Add("association terminal under 4D534C0000000001 CC_LOCALE v1 until 2026-11-30, grant 0011")
	f.Add("association read/write under 4D534C0000000001 CC_LAN v3")
	f.Fuzz(func(t *testing.T, s string) {
		if u, ok := ParseUse(s); ok && u.String() != s {
			t.Errorf("%q became %q", s, u)
		}
	})
}
