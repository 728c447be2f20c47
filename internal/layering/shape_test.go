package layering

import (
	"fmt"
	"go/ast"
	"go/token"
)

// checkSizes holds the limits on the length of files and functions.
func checkSizes(c *code) []violation {
	var found []violation
	for _, f := range c.files {
		if !f.test && f.lines > maxFileLines {
			found = append(found, violation{f.path, fmt.Sprintf("%d lines, and the limit is %d: cut it where the subject changes", f.lines, maxFileLines)})
		}
	}
	c.functions(func(_ file, fn *ast.FuncDecl) {
		lines := c.fset.Position(fn.End()).Line - c.fset.Position(fn.Pos()).Line + 1
		if lines > maxFunctionLines {
			found = append(found, violation{c.at(fn), fmt.Sprintf("%s has %d lines, and the limit is %d", fn.Name.Name, lines, maxFunctionLines)})
		}
	})
	return found
}

// checkInit finds init functions: work that is done before main cannot be injected, refused or tested.
func checkInit(c *code) []violation {
	var found []violation
	c.functions(func(_ file, fn *ast.FuncDecl) {
		if fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, violation{c.at(fn), "init function: do the work in a constructor"})
		}
	})
	return found
}

// checkPackageDocs: every package says what it is, in one place.
func checkPackageDocs(c *code) []violation {
	documented := map[string]int{}
	for _, f := range c.files {
		if f.test {
			continue
		}
		documented[f.dir] += 0
		if f.tree.Doc != nil && f.tree.Doc.Text() != "" {
			documented[f.dir]++
		}
	}
	var found []violation
	for _, dir := range c.dirs() {
		if n, hasCode := documented[dir]; hasCode && n == 0 {
			found = append(found, violation{dir, "no package comment"})
		} else if n > 1 {
			found = append(found, violation{dir, fmt.Sprintf("%d package comments: keep one", n)})
		}
	}
	return found
}

// checkExportedDocs: whatever dlms exports has a doc comment: it is a library for others.
func checkExportedDocs(c *code) []violation {
	var found []violation
	for _, f := range c.files {
		if f.test || !matches("dlms/...", f.dir) {
			continue
		}
		for _, d := range f.tree.Decls {
			found = append(found, undocumented(c, d)...)
		}
	}
	return found
}

func undocumented(c *code, d ast.Decl) []violation {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown(d) {
			return []violation{{c.at(d), "no doc comment: " + d.Name.Name}}
		}
	case *ast.GenDecl:
		return undocumentedSpecs(c, d)
	}
	return nil
}

// wellKnown: String and Error say what they always say.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "String" || d.Name.Name == "Error")
}

// exportedReceiver: a method of an unexported type is not in the documentation.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		case *ast.IndexListExpr:
			t = inner.X
		case *ast.Ident:
			return inner.IsExported()
		default:
			return false
		}
	}
}

// undocumentedSpecs: a group of constants or variables may share one comment; a type has its own, and so have its
// fields and methods.
func undocumentedSpecs(c *code, d *ast.GenDecl) []violation {
	var found []violation
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || len(d.Specs) > 1) {
				found = append(found, violation{c.at(s), "no doc comment: " + s.Name.Name})
			}
			if s.Name.IsExported() {
				found = append(found, undocumentedFields(c, s)...)
			}
		case *ast.ValueSpec:
			if d.Doc == nil && s.Doc == nil && s.Comment == nil && d.Tok != token.IMPORT && anyExported(s.Names) {
				found = append(found, violation{c.at(s), "no doc comment: " + s.Names[0].Name})
			}
		}
	}
	return found
}

func anyExported(names []*ast.Ident) bool {
	for _, n := range names {
		if n.IsExported() {
			return true
		}
	}
	return false
}
