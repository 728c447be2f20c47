package layering

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// source is one Go file: its path from the module's root, with slashes, and its text.
type source struct {
	path string
	text string
}

// file is a parsed source.
type file struct {
	path    string
	dir     string // the package's path below the module; "." for the root
	test    bool
	lines   int
	imports []string
	tree    *ast.File
}

// code is everything that is checked.
type code struct {
	fset  *token.FileSet
	files []file
}

// violation is one finding: where, and what to do about it.
type violation struct {
	where string
	what  string
}

func (v violation) String() string { return v.where + ": " + v.what }

// parse reads the sources. A file that does not parse is an error: what cannot be read cannot be checked.
func parse(sources []source) (*code, error) {
	c := &code{fset: token.NewFileSet()}
	var errs []error
	for _, s := range sources {
		tree, err := parser.ParseFile(c.fset, s.path, s.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.files = append(c.files, file{
			path:    s.path,
			dir:     path.Dir(s.path),
			test:    strings.HasSuffix(s.path, "_test.go"),
			lines:   strings.Count(s.text, "\n"),
			imports: importsOf(tree),
			tree:    tree,
		})
	}
	return c, errors.Join(errs...)
}

func importsOf(tree *ast.File) []string {
	var paths []string
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			p = spec.Path.Value
		}
		paths = append(paths, p)
	}
	return paths
}

// readModule reads every Go file below root that belongs to this module: not testdata, not what begins with a dot
// or an underscore, and not another module (a folder with a go.mod of its own).
func readModule(root string) ([]source, error) {
	var sources []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return enter(root, name, entry.Name())
		case filepath.Ext(name) != ".go":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		sources = append(sources, source{path: filepath.ToSlash(rel), text: string(text)})
		return nil
	})
	return sources, err
}

// enter says whether a folder is walked.
func enter(root, name, base string) error {
	if name == root {
		return nil
	}
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	if err == nil {
		return fs.SkipDir
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// matches reports whether a path fits a pattern: the same path, or below it where the pattern ends in "/...".
func matches(pattern, p string) bool {
	stem, below := strings.CutSuffix(pattern, "/...")
	if p == stem {
		return true
	}
	return below && strings.HasPrefix(p, stem+"/")
}

func matchesAny(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if matches(pattern, p) {
			return true
		}
	}
	return false
}

// ours returns the path below the module of an import path of ours.
func ours(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// isStandard: the first element of every path outside the standard library has a dot.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func (c *code) at(n ast.Node) string {
	p := c.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// dirs lists the packages, sorted.
func (c *code) dirs() []string {
	seen := map[string]bool{}
	var dirs []string
	for _, f := range c.files {
		if !seen[f.dir] {
			seen[f.dir] = true
			dirs = append(dirs, f.dir)
		}
	}
	sort.Strings(dirs)
	return dirs
}

// functions calls visit for every function declared in code that is not a test.
func (c *code) functions(visit func(file, *ast.FuncDecl)) {
	for _, f := range c.files {
		if f.test {
			continue
		}
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				visit(f, fn)
			}
		}
	}
}
