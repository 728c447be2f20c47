package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/decode"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
)

// vectorKeys takes the keys of a vector out of its fields.
func vectorKeys(t *testing.T, v dlmstest.Vector) []decode.Keys {
	t.Helper()
	var k decode.Keys
	var err error
	check := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if v.Has("unicast") {
		k.Unicast, err = key.NewUnicast(v.Bytes(t, "unicast"))
		check()
	}
	if v.Has("authentication") {
		k.Authentication, err = key.NewAuthentication(v.Bytes(t, "authentication"))
		check()
	}
	if v.Has("title") {
		k.Title, err = dlms.SystemTitleFromBytes(v.Bytes(t, "title"))
		check()
	}
	return []decode.Keys{k}
}

// TestPublishedTelegramsDecodeToTheirPublishedValues decodes every vector. Its fields "node N" are the value of the
// first node of that name, "note N" a part of its note, "obis O" what stands behind an object's name, "plaintext" what
// was deciphered, "text ..." a part of the text, and "hidden" what may be nowhere in the output.
func TestPublishedTelegramsDecodeToTheirPublishedValues(t *testing.T) {
	vectors := dlmstest.LoadVectors(t, "testdata")
	if len(vectors) < 20 {
		t.Fatalf("got %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.String(), func(t *testing.T) {
			tree := decode.Decode(v.Bytes(t, "bytes"), decode.Options{Keys: vectorKeys(t, v)})
			text := tree.String()
			bad := tree.FirstError()
			if v.Refused != "" {
				if bad == nil || !strings.Contains(text, v.Refused) {
					t.Fatalf("want an error with %q:\n%s", v.Refused, text)
				}
				return
			}
			if bad != nil {
				t.Fatalf("%s: %s\n%s", bad.Name, bad.Error, text)
			}
			checked := 0
			for field, want := range v.Values {
				checked += checkField(t, tree, text, field, want)
			}
			if checked == 0 {
				t.Error("the vector expects nothing")
			}
			noKey(t, v, tree)
		})
	}
}

func checkField(t *testing.T, tree *decode.Node, text, field, want string) int {
	t.Helper()
	kind, name, _ := strings.Cut(field, " ")
	var got string
	switch kind {
	case "node":
		if n := tree.Find(name); n != nil {
			got = n.Value
		}
	case "note":
		n := tree.Find(name)
		if n == nil || !strings.Contains(n.Note, want) {
			t.Errorf("%s: want a note with %q:\n%s", name, want, text)
		}
		return 1
	case "obis":
		got = valueOf(tree, name)
	case "plaintext":
		if n := tree.Find("plaintext"); n != nil {
			got = fmt.Sprintf("%X", n.Buffer)
		}
	case "text":
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
		return 1
	default:
		return 0
	}
	if got != want {
		t.Errorf("%s: got %q, want %q:\n%s", field, got, want, text)
	}
	return 1
}

// valueOf returns what stands behind the name of an object in a list: with its unit where there is one.
func valueOf(tree *decode.Node, obis string) (said string) {
	tree.Walk(func(n *decode.Node) bool {
		for i := 0; i+1 < len(n.Children); i++ {
			if n.Children[i].Value == obis && n.Children[i].Type == "octet-string" {
				v := n.Children[i+1]
				said = v.Value
				if v.Number != "" && v.Note != "" {
					said = v.Note
				}
				return false
			}
		}
		return true
	})
	return said
}

// noKey fails if a key of the vector is anywhere in the output.
func noKey(t *testing.T, v dlmstest.Vector, tree *decode.Node) {
	t.Helper()
	j, err := tree.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := strings.ToUpper(strings.NewReplacer(" ", "", "\n", "").Replace(tree.String() + string(j)))
	for _, field := range []string{"unicast", "authentication", "hidden"} {
		if v.Has(field) && strings.Contains(out, strings.ToUpper(v.Text(t, field))) {
			t.Errorf("%s is in the output", field)
		}
	}
}
