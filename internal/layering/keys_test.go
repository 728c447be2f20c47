package layering

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
)

// checkKeys holds law 2 in the source: the bytes of a key are taken out in few packages, and keyPackage gives them
// under known names only. Tests are free.
func checkKeys(c *code) []violation {
	var found []violation
	for _, f := range c.files {
		if !f.test {
			found = append(found, revealed(c, f)...)
			found = append(found, held(c, f)...)
		}
	}
	return append(found, newWaysOut(c)...)
}

func revealed(c *code, f file) []violation {
	var found []violation
	for _, spec := range f.tree.Imports {
		if spec.Name != nil && spec.Name.Name == "." && spec.Path.Value == `"`+module+"/"+keyPackage+`"` {
			found = append(found, violation{c.at(spec), "a dot import hides who takes key bytes"})
		}
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		for _, r := range revealing {
			if selector.Sel.Name == r.name && !matchesAny(r.users, f.dir) {
				found = append(found, violation{c.at(selector), fmt.Sprintf("takes key bytes by %s: only %s may (revealing in internal/layering/rules_test.go)", r.name, orNothing(r.users))})
			}
		}
		return true
	})
	return found
}

// held finds what a package of namesOnly uses beyond the names it may.
func held(c *code, f file) []violation {
	var found []violation
	for _, r := range namesOnly {
		local := localName(f, module+"/"+r.of)
		if local == "" || !matchesAny(r.users, f.dir) {
			continue
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := selector.X.(*ast.Ident)
			if ok && id.Name == local && !slices.Contains(r.names, selector.Sel.Name) {
				found = append(found, violation{c.at(selector), fmt.Sprintf("uses %s.%s: %s names keys and never holds one (namesOnly in internal/layering/rules_test.go)", local, selector.Sel.Name, f.dir)})
			}
			return true
		})
	}
	return found
}

// localName returns what a file calls a package that it imports, or nothing.
func localName(f file, importPath string) string {
	for i, imported := range f.imports {
		if imported != importPath {
			continue
		}
		if name := f.tree.Imports[i].Name; name != nil {
			return name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// newWaysOut finds exported functions of keyPackage that give bytes and that nobody has judged yet.
func newWaysOut(c *code) []violation {
	var found []violation
	c.functions(func(f file, fn *ast.FuncDecl) {
		if f.dir != keyPackage || !fn.Name.IsExported() || !givesBytes(fn) || judged(fn.Name.Name) {
			return
		}
		found = append(found, violation{c.at(fn), fn.Name.Name + " gives bytes: list it as revealing or harmless in internal/layering/rules_test.go"})
	})
	return found
}

func judged(name string) bool {
	for _, r := range revealing {
		if r.name == name {
			return true
		}
	}
	return slices.Contains(harmless, name)
}

// givesBytes: a result is a slice or an array of byte, or a string from anything but String.
func givesBytes(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil {
		return false
	}
	for _, r := range fn.Type.Results.List {
		if isBytes(r.Type) {
			return true
		}
		if name, ok := r.Type.(*ast.Ident); ok && name.Name == "string" && fn.Name.Name != "String" {
			return true
		}
	}
	return false
}

func isBytes(t ast.Expr) bool {
	array, ok := t.(*ast.ArrayType)
	if !ok {
		return false
	}
	element, ok := array.Elt.(*ast.Ident)
	return ok && (element.Name == "byte" || element.Name == "uint8")
}

// declares reports whether a package declares a function of that name.
func declares(c *code, dir, name string) bool {
	yes := false
	c.functions(func(f file, fn *ast.FuncDecl) {
		yes = yes || (f.dir == dir && fn.Name.Name == name)
	})
	return yes
}
