package key_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// TestWhatMustNotCompileDoesNotCompile type-checks programs against the sources of this package. The program with
// which they begin compiles, so each fails for its own line alone.
func TestWhatMustNotCompileDoesNotCompile(t *testing.T) {
	build.Default.CgoEnabled = false // pure Go sources are enough, and need no C compiler
	fset := token.NewFileSet()
	check := newChecker(fset)

	if err := check(""); err != nil {
		t.Fatalf("the frame does not compile: %v", err)
	}
	for name, c := range map[string]struct{ line, want string }{
		"equality":                  {"_ = u == u", "cannot be compared"},
		"inequality":                {"_ = m != m", "cannot be compared"},
		"map key":                   {"_ = map[key.Unicast]int{}", "invalid map key type"},
		"switch":                    {"switch u { case u: }", "not comparable"},
		"unicast as master":         {"var _ key.Master = u", "cannot use"},
		"master as unicast":         {"var _ key.Unicast = m", "cannot use"},
		"converted role":            {"_ = key.Unicast(m)", "cannot convert"},
		"converted session":         {"_ = key.Unicast(d)", "cannot convert"},
		"equal across roles":        {"_ = u.Equal(m)", "cannot use"},
		"master ciphers":            {"_, _ = m.AEAD()", "undefined"},
		"wrapping ciphers":          {"_, _ = w.AEAD()", "undefined"},
		"authentication ciphers":    {"_, _ = a.AEAD()", "undefined"},
		"unicast wraps":             {"_, _ = u.Wrap(u)", "undefined"},
		"session key is wrapped":    {"_, _ = w.Wrap(d)", "does not implement"},
		"bytes out of a field":      {"_ = u.reveal()", "undefined"},
		"bytes out of the material": {"_ = u.material", "undefined"},
		"a key of somebody else":    {"type own struct{}; var _ key.Key = own{}", "does not implement"},
		"derived as unicast":        {"var _ key.Unicast = v", "cannot use"},
		"unicast as derived":        {"_ = key.Derived(u)", "cannot convert"},
		"derived derives":           {"_, _ = v.Derive(dlms.SystemTitle{}, dlms.Day{})", "undefined"},
		"equality of secrets":       {"_ = s == s", "cannot be compared"},
		"secret as a key":           {"var _ key.Key = s", "does not implement"},
		"bytes of a secret":         {"_ = s.reveal()", "undefined"},
		"a literal":                 {"_ = key.Unicast{nil, nil}", "unexported"},
	} {
		t.Run(name, func(t *testing.T) {
			err := check(c.line)
			if err == nil {
				t.Fatalf("%s: compiles", c.line)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: want an error with %q, got %v", c.line, c.want, err)
			}
		})
	}
}

func newChecker(fset *token.FileSet) func(line string) error {
	// One importer for all programs: it remembers what it has checked.
	imports := importer.ForCompiler(fset, "source", nil)
	const frame = `package p

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
)

func f(m key.Master, u key.Unicast, v key.Derived, a key.Authentication, d key.Dedicated, w key.Wrapping, c key.MAC, s key.Secret) {
	_, _ = u.AEAD()
	_, _ = m.Wrap(u)
	_, _ = w.Wrap(c)
	_ = u.Equal(u)
	_, _ = u.Derive(dlms.SystemTitle{}, dlms.Day{})
	_, _, _ = a, d, s
	%s
}
`
	return func(line string) error {
		file, err := parser.ParseFile(fset, "p.go", fmt.Sprintf(frame, line), 0)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		_, err = (&types.Config{Importer: imports}).Check("p", fset, []*ast.File{file}, nil)
		return err
	}
}
