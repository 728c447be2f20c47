package shipment

import (
	"crypto/rand"
	"testing"

	"github.com/meterseal/meterseal/internal/leaktest"
)

func TestLaw2NothingOfAMakersKeyIsReached(t *testing.T) {
	k, err := NewMakerKey(rand.Reader, "MSL")
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Uncomparable(t, k)
	leaktest.Never(t, k, k.reveal().Seed())
	leaktest.Never(t, &k, k.reveal().Seed())
}
