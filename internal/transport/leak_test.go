package transport

import (
	"testing"

	"github.com/meterseal/meterseal/internal/leaktest"
)

// TestLaw2NothingOfAPrivateTransportKeyIsReached is the same as for the keys of package key: no verb, log, encoding or walk.
func TestLaw2NothingOfAPrivateTransportKeyIsReached(t *testing.T) {
	p := private(t)
	leaktest.Uncomparable(t, p)
	k := p.reveal()
	leaktest.Never(t, p, k.D.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes())
	leaktest.Never(t, &p, k.D.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes())
}
