package vault

import (
	"runtime"
	"sync"
	"weak"
)

// held finds what there must be one of in the process, as long as anybody uses it, and forgets it after that: a handle of
// each key and title, a table of floors of each key. The last ones that were asked for it keeps whether they are used or
// not, between keep and twice as many. It is the garbage collector that says that nobody uses one any more, so that none is
// made anew while another is out, whatever its users forget to give back (law 4).
type held[K comparable, V any] struct {
	mu         sync.Mutex
	keep       int
	young, old map[K]*V
	all        map[K]weak.Pointer[V]
}

func newHeld[K comparable, V any](keep int) *held[K, V] {
	return &held[K, V]{keep: keep, young: map[K]*V{}, all: map[K]weak.Pointer[V]{}}
}

// get returns what there is for a key, or nil.
func (h *held[K, V]) get(k K) *V {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v := h.young[k]; v != nil {
		return v
	}
	v := h.all[k].Value()
	if v != nil {
		h.rememberLocked(k, v)
	}
	return v
}

// put adds what was made for a key for which get returned nil.
func (h *held[K, V]) put(k K, v *V) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[k] = weak.Make(v)
	runtime.AddCleanup(v, h.gone, k)
	h.rememberLocked(k, v)
}

func (h *held[K, V]) rememberLocked(k K, v *V) {
	if h.keep == 0 {
		return
	}
	if len(h.young) >= h.keep {
		h.old, h.young = h.young, make(map[K]*V, h.keep)
	}
	h.young[k] = v
}

// gone forgets the name of one that nobody uses, unless there is another one by now.
func (h *held[K, V]) gone(k K) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.all[k]; ok && p.Value() == nil {
		delete(h.all, k)
	}
}

// size is how many there are.
func (h *held[K, V]) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}
