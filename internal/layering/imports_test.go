package layering

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// checkImports holds importRules, notDirectly, externalRules and the bans.
func checkImports(c *code) []violation {
	var found []violation
	for _, dir := range c.dirs() {
		if _, ok := ruleFor(dir); !ok {
			found = append(found, violation{dir, "unknown package: add it to importRules in internal/layering/rules_test.go, with what it may import"})
		}
		if slices.Contains(bannedNames, path.Base(dir)) {
			found = append(found, violation{dir, "the name says nothing: name the package for what it is about"})
		}
	}
	for _, f := range c.files {
		for _, imported := range f.imports {
			if what := refuse(f, imported); what != "" {
				found = append(found, violation{f.path, what})
			}
		}
	}
	return found
}

// refuse says why a file may not import a path, or nothing.
func refuse(f file, imported string) string {
	if slices.Contains(bannedEverywhere, imported) {
		return fmt.Sprintf("imports %s, which nothing here needs", imported)
	}
	if isStandard(imported) {
		return ""
	}
	target, own := ours(imported)
	switch {
	case own && f.test:
		return refuseInTest(f.dir, target)
	case own:
		return refuseOurs(f.dir, target)
	default:
		return refuseForeign(f, imported)
	}
}

func refuseOurs(dir, target string) string {
	for _, r := range notDirectly {
		if matches(r.from, dir) && matchesAny(r.may, target) {
			return fmt.Sprintf("imports %s: %s never does", target, dir)
		}
	}
	r, known := ruleFor(dir)
	if !known || matchesAny(r.may, target) {
		return ""
	}
	return fmt.Sprintf("imports %s: %s may import %s", target, dir, orNothing(r.may))
}

// refuseInTest: a test may reach sideways and up for its fixtures, but the library's tests stay in the library, or
// nobody else could run them.
func refuseInTest(dir, target string) string {
	if matches("dlms/...", dir) && !matches("dlms/...", target) {
		return fmt.Sprintf("imports %s: a test of the library stays in the library", target)
	}
	return ""
}

func refuseForeign(f file, imported string) string {
	if f.test && hasModule(testModules, imported) {
		return ""
	}
	for _, r := range externalRules {
		if !hasModule([]string{r.modulePath}, imported) {
			continue
		}
		if matchesAny(r.users, f.dir) || (f.test && !matches("dlms/...", f.dir)) {
			return ""
		}
		return fmt.Sprintf("imports %s: only %s may", imported, orNothing(r.users))
	}
	return fmt.Sprintf("imports %s: not a dependency we decided on (externalRules in internal/layering/rules_test.go)", imported)
}

func hasModule(modules []string, imported string) bool {
	return slices.ContainsFunc(modules, func(m string) bool {
		return imported == m || strings.HasPrefix(imported, m+"/")
	})
}

func orNothing(paths []string) string {
	if len(paths) == 0 {
		return "nothing of ours"
	}
	return strings.Join(paths, ", ")
}

// ruleFor returns the most specific rule for a package.
func ruleFor(dir string) (rule, bool) {
	var best rule
	known := false
	for _, r := range importRules {
		if matches(r.from, dir) && (!known || len(r.from) > len(best.from)) {
			best, known = r, true
		}
	}
	return best, known
}

// checkReach holds unreachable, over any number of imports.
func checkReach(c *code) []violation {
	edges := importGraph(c)
	var found []violation
	for _, dir := range c.dirs() {
		for _, r := range unreachable {
			if !matches(r.from, dir) {
				continue
			}
			if way := route(edges, dir, func(p string) bool { return matchesAny(r.may, p) }); way != nil {
				found = append(found, violation{dir, "reaches what it must never know: " + strings.Join(way, " -> ")})
			}
		}
	}
	return found
}

// importGraph maps each package to what its code imports: our packages by their path below the module, foreign ones
// by their import path.
func importGraph(c *code) map[string][]string {
	edges := map[string][]string{}
	for _, f := range c.files {
		if f.test {
			continue
		}
		for _, imported := range f.imports {
			if isStandard(imported) {
				continue
			}
			if target, own := ours(imported); own {
				imported = target
			}
			edges[f.dir] = append(edges[f.dir], imported)
		}
	}
	return edges
}

// route returns a shortest way from one package to one that is wanted, or nil.
func route(edges map[string][]string, from string, wanted func(string) bool) []string {
	ways := [][]string{{from}}
	seen := map[string]bool{from: true}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		for _, next := range edges[way[len(way)-1]] {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(way), next)
			if wanted(next) {
				return longer
			}
			ways = append(ways, longer)
		}
	}
	return nil
}
