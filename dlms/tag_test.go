package dlms

import (
	"strings"
	"testing"
)

func TestEveryTagHasANameOfItsOwn(t *testing.T) {
	seen := map[string]Tag{}
	for _, s := range samples {
		name := s.data.Tag().String()
		if other, ok := seen[name]; ok && other != s.data.Tag() {
			t.Errorf("tags %d and %d are both %s", other, s.data.Tag(), name)
		}
		if seen[name] = s.data.Tag(); strings.HasPrefix(name, "data type") {
			t.Errorf("tag %d has no name", s.data.Tag())
		}
	}
	if len(seen) != 24 {
		t.Errorf("the samples have %d types, want all but compact-array: 24", len(seen))
	}
	if got := Tag(7).String(); got != "data type 7" {
		t.Errorf("got %s", got)
	}
}
