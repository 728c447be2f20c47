package enrol

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/leaktest"
)

func TestLaw2NothingOfAnIdentityIsReached(t *testing.T) {
	id := identity(t, Concentrator, dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 9})
	leaktest.Uncomparable(t, id)
	leaktest.Never(t, id, key.Reveal(id.kek), key.Reveal(id.mac), id.nkey())
	leaktest.Never(t, *id, key.Reveal(id.kek), key.Reveal(id.mac), id.nkey())
}
