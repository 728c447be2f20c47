package bare_test

import (
	"crypto/cipher"
	"reflect"
	"testing"

	"github.com/meterseal/meterseal/dlms/internal/bare"
	"github.com/meterseal/meterseal/dlms/key"
)

func keyAEAD(t *testing.T) cipher.AEAD {
	t.Helper()
	k, err := key.NewDedicated([]byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOfTakesTheCipherOutOfAKeysAEADAndLeavesOthers(t *testing.T) {
	a := keyAEAD(t)
	inner := bare.Of(a)
	if _, hides := inner.(bare.Holder); hides || inner == a {
		t.Errorf("got %T", inner)
	}
	if again := bare.Of(inner); again != inner {
		t.Errorf("got %T", again)
	}
	watched := struct{ cipher.AEAD }{inner}
	if bare.Of(watched) != cipher.AEAD(watched) {
		t.Error("an AEAD that is no holder was opened")
	}
}

func TestReflectionDoesNotOpenAKeysAEAD(t *testing.T) {
	a := keyAEAD(t)
	m := reflect.ValueOf(a).MethodByName("Bare")
	got := m.Call([]reflect.Value{reflect.Zero(m.Type().In(0))})[0].Interface()
	if got != any(a) {
		t.Errorf("got %T", got)
	}
}
