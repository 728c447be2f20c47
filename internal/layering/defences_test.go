package layering

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"
)

// defencePackage names the defences that the simulation takes away.
const defencePackage = "internal/defence"

// checkDefences holds that nobody but the simulation switches a defence off: elsewhere a defence is only asked for,
// as the argument of Off.
func checkDefences(c *code) []violation {
	var found []violation
	for _, f := range c.files {
		local := localName(f, module+"/"+defencePackage)
		if f.test || local == "" || strings.HasPrefix(f.dir, "internal/sim") {
			continue
		}
		asked := map[ast.Node]bool{}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Off" && len(call.Args) == 1 {
					asked[call.Args[0]] = true
				}
			}
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := s.X.(*ast.Ident); ok && id.Name == local && s.Sel.Name != "Set" && !asked[s] {
				found = append(found, violation{c.at(s), fmt.Sprintf("uses %s.%s: only internal/sim switches a defence off", local, s.Sel.Name)})
			}
			return true
		})
	}
	return found
}

func TestOnlyTheSimulationTakesADefenceAway(t *testing.T) { report(t, checkDefences(load(t))) }

func TestADefenceTakenAwayElsewhereIsFound(t *testing.T) {
	c, err := parse([]source{{
		path: "internal/central/x.go",
		text: "package central\n\nimport \"" + module + "/" + defencePackage + "\"\n\nvar off = defence.Journal\n\nfunc f(s defence.Set) bool { return s.Off(defence.Search) }\n",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if found := checkDefences(c); len(found) != 1 {
		t.Errorf("want the one in off, got %v", found)
	}
}
