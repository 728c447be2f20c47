package layering

import (
	"go/ast"
	"strings"
)

// checkDecoders: what takes bytes from outside is fuzzed. An exported decoder of dlms must be named in a file of its
// own package that holds a fuzz target.
func checkDecoders(c *code) []violation {
	fuzzed := namesBesideFuzzTargets(c)
	var found []violation
	c.functions(func(f file, fn *ast.FuncDecl) {
		if !matches("dlms/...", f.dir) || !isDecoder(fn) || fuzzed[f.dir][fn.Name.Name] {
			return
		}
		found = append(found, violation{c.at(fn), fn.Name.Name + " takes bytes, and no fuzz target of its package calls it"})
	})
	return found
}

func isDecoder(fn *ast.FuncDecl) bool {
	if fn.Recv != nil || !fn.Name.IsExported() {
		return false
	}
	for _, prefix := range decoderPrefixes {
		if strings.HasPrefix(fn.Name.Name, prefix) {
			return takesBytes(fn)
		}
	}
	return false
}

func takesBytes(fn *ast.FuncDecl) bool {
	for _, p := range fn.Type.Params.List {
		if isBytes(p.Type) {
			return true
		}
	}
	return false
}

// namesBesideFuzzTargets maps each package to every identifier in its test files that hold a fuzz target.
func namesBesideFuzzTargets(c *code) map[string]map[string]bool {
	names := map[string]map[string]bool{}
	for _, f := range c.files {
		if !f.test || !holdsFuzzTarget(f) {
			continue
		}
		if names[f.dir] == nil {
			names[f.dir] = map[string]bool{}
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				names[f.dir][id.Name] = true
			}
			return true
		})
	}
	return names
}

func holdsFuzzTarget(f file) bool {
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") && len(fn.Type.Params.List) == 1 {
			return true
		}
	}
	return false
}

// checkFuzzWeight: no fuzz target in a package that drags a database or a broker in.
func checkFuzzWeight(c *code) []violation {
	edges := importGraph(c)
	var found []violation
	for _, f := range c.files {
		if !f.test || !holdsFuzzTarget(f) {
			continue
		}
		way := route(edges, f.dir, func(p string) bool { return hasModule(noFuzzWith, p) })
		if way != nil {
			found = append(found, violation{f.path, "a fuzz target here instruments " + strings.Join(way, " -> ") + ": move what is fuzzed to a package of its own"})
		}
	}
	return found
}
