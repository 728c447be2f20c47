package leaktest

import (
	"fmt"
	"testing"
)

// open is a type that gives everything away.
type open struct{ Key []byte }

// shut is one that gives nothing away.
type shut struct{ key func() []byte }

func TestASecretInAnOrdinaryFieldIsFoundInEveryWay(t *testing.T) {
	secret := []byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6")
	for _, way := range ways {
		if shown(way.try(open{secret}), secret) == "" {
			t.Errorf("%s finds nothing at all", way.name)
		}
		if s := shown(way.try(shut{func() []byte { return secret }}), secret); s != "" {
			t.Errorf("%s looks into a function: %s", way.name, s)
		}
	}
	for _, form := range []string{"%x", "%X", "% x", "%q", "%s"} {
		if out := fmt.Appendf(nil, form, secret); form != "%q" && shown(out, secret) == "" {
			t.Errorf("%s is not recognised", form)
		}
	}
	Never(t, shut{func() []byte { return secret }}, secret)
}
