package access

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/meterseal/meterseal/internal/leaktest"
)

func TestLaw2NothingOfAPersonsKeyIsReached(t *testing.T) {
	k, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	i := &Identity{Name: "alice", Roles: []Role{Operator}, cert: &x509.Certificate{PublicKey: k.Public()}, ca: &x509.Certificate{}, key: func() *ecdsa.PrivateKey { return k }}
	leaktest.Uncomparable(t, i)
	leaktest.Never(t, i, secret)
}
