package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// chance is all the randomness of a world, and the record of what it decided.
type chance struct {
	*rand.Rand
	keys  io.Reader // for keys and challenges: what the parts draw does not shift what the world decides
	mu    sync.Mutex
	trace hash.Hash
	lines []string // the last ones, for a person
	keep  int
}

func newChance(seed uint64, keep int) *chance {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	copy(s[8:], "meterseal simulation")
	return &chance{
		//nolint:gosec // it decides which faults come, and has to replay from a seed
		Rand: rand.New(rand.NewPCG(seed, 0x6d6574657273656c)), keys: rand.NewChaCha8(s), trace: sha256.New(), keep: keep,
	}
}

// one reports true one time in n.
func (c *chance) one(n int) bool { return n > 0 && c.IntN(n) == 0 }

// note puts a line on the record.
func (c *chance) note(format string, args ...any) {
	line := time.Now().Format(time.TimeOnly) + " " + fmt.Sprintf(format, args...) //nolint:forbidigo // the bubble's time
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.trace, line+"\n") // a hash takes everything
	if c.keep > 0 {
		c.lines = append(c.lines, line)
		if len(c.lines) > c.keep {
			c.lines = c.lines[1:]
		}
	}
}

func (c *chance) sum() string { return fmt.Sprintf("%x", c.trace.Sum(nil)[:8]) }
