// Package transporttest has transport keys for tests: to make one takes about half a second, and a package of tests opens
// hundreds of vaults.
package transporttest

import (
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/internal/transport"
)

// Keys hands the same few keys out again and again.
type Keys struct {
	mu   sync.Mutex
	made map[int]transport.Private
}

// Key returns the n-th key, made when it is first asked for.
func (k *Keys) Key(n int) (transport.Private, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.made[n]; ok {
		return p, nil
	}
	p, err := transport.Generate(rand.Reader) //nolint:forbidigo // keys for tests, which nothing replays
	if err != nil {
		return p, fmt.Errorf("transport key for tests: %w", err)
	}
	if k.made == nil {
		k.made = map[int]transport.Private{}
	}
	k.made[n] = p
	return p, nil
}
