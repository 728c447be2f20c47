package layering

import (
	"fmt"
	"go/ast"
	"testing"
)

// shortTag is the constructor of crypto/cipher whose ciphers write beyond their destination: see docs/divergences.md.
// Who makes one gives it room, and keyPackage is where that is done.
const shortTag = "NewGCMWithTagSize"

// checkCiphers holds that a GCM with a short tag is made where its destinations get room, and nowhere else. Tests are
// free: many hold a cipher of ours against a bare one.
func checkCiphers(c *code) []violation {
	var found []violation
	for _, f := range c.files {
		local := localName(f, "crypto/cipher")
		if f.test || f.dir == keyPackage || local == "" {
			continue
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == shortTag {
				found = append(found, violation{c.at(id), fmt.Sprintf("uses %s: it writes beyond its destination, and only %s gives it room", id.Name, keyPackage)})
			}
			return true
		})
	}
	return found
}

func TestAGCMWithAShortTagIsMadeWhereItGetsRoom(t *testing.T) { report(t, checkCiphers(load(t))) }

func TestTheCipherThatNeedsRoomIsStillMadeWhereTheLawSays(t *testing.T) {
	made := false
	for _, f := range load(t).files {
		if f.dir == keyPackage && !f.test {
			ast.Inspect(f.tree, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				made = made || ok && id.Name == shortTag
				return true
			})
		}
	}
	if !made {
		t.Errorf("%s makes no %s: the law guards a place that is gone", keyPackage, shortTag)
	}
}
