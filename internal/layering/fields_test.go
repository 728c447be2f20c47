package layering

import (
	"go/ast"
	"regexp"
)

// undocumentedFields: an exported field of a struct, or method of an interface, has a comment of its own, or the
// comment above its group, which ends at the next comment or empty line, speaks of it by name.
func undocumentedFields(c *code, s *ast.TypeSpec) []violation {
	var list []*ast.Field
	switch t := s.Type.(type) {
	case *ast.StructType:
		list = t.Fields.List
	case *ast.InterfaceType:
		list = t.Methods.List
	}
	var found []violation
	group, last := "", -1
	for _, f := range list {
		first := c.fset.Position(f.Pos()).Line
		switch {
		case f.Doc != nil:
			group = f.Doc.Text()
		case first > last+1:
			group = ""
		}
		last = c.fset.Position(f.End()).Line
		if f.Doc == nil && f.Comment == nil {
			found = append(found, unnamed(c, s.Name.Name, f.Names, group)...)
		}
	}
	return found
}

func unnamed(c *code, of string, names []*ast.Ident, group string) []violation {
	var found []violation
	for _, n := range names {
		if n.IsExported() && n.Name != "String" && !regexp.MustCompile(`\b`+n.Name+`\b`).MatchString(group) {
			found = append(found, violation{c.at(n), "no doc comment: " + of + "." + n.Name})
		}
	}
	return found
}
