package nvm

import (
	"bytes"
	"errors"
	"sync"
)

// MaxFrame is the longest frame, in bytes.
const MaxFrame = 60_000

// Errors of memories.
var (
	// ErrDamaged is returned for a memory with damage that is not the torn end of a last write.
	ErrDamaged = errors.New("meter memory: damaged")
	// ErrBroken is returned by a memory that was not loaded, and after a write whose outcome is not known. Open it again.
	ErrBroken = errors.New("meter memory: not loaded, or an earlier write failed; nothing is taken")
	// ErrInUse is returned for a folder that another process serves.
	ErrInUse = errors.New("meter memory: in use by another process")
	// ErrFrame is returned for a frame that is empty or too long.
	ErrFrame = errors.New("meter memory: frame empty or too long")
	// ErrVersion is returned for a memory that another version of this program wrote.
	ErrVersion = errors.New("meter memory: unknown format")
)

// Memory is the non-volatile memory of one meter. It is used by one goroutine at a time.
type Memory interface {
	// Load calls take for every frame, in the order of Append. The bytes are valid during the call. Without a Load
	// that succeeded, nothing is taken.
	Load(take func(frame []byte) error) error
	// Append adds a frame. With durable set, it and all before it are on disk when Append returns nil; after an error
	// it may be there or not. Without, it may be lost in a power cut, though not to a crash of the process.
	Append(frame []byte, durable bool) error
	// Replace puts frames in the place of all that there is, durably, or changes nothing.
	Replace(frames [][]byte) error
	// Size is how much there is, in bytes.
	Size() int
	// Close gives up what the memory holds.
	Close() error
}

// Volatile is a Memory that lives as long as the process, for tests and benchmarks. The zero value is empty and
// ready. It may be loaded again, as after a restart.
type Volatile struct {
	mu     sync.Mutex
	frames [][]byte
	size   int
}

var _ Memory = (*Volatile)(nil)

// Load implements Memory.
func (v *Volatile) Load(take func([]byte) error) error {
	v.mu.Lock()
	frames := v.frames
	v.mu.Unlock()
	for _, f := range frames {
		if err := take(f); err != nil {
			return err
		}
	}
	return nil
}

// Append implements Memory.
func (v *Volatile) Append(frame []byte, _ bool) error {
	if len(frame) == 0 || len(frame) > MaxFrame {
		return ErrFrame
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frames = append(v.frames, bytes.Clone(frame))
	v.size += len(frame)
	return nil
}

// Replace implements Memory.
func (v *Volatile) Replace(frames [][]byte) error {
	next := make([][]byte, 0, len(frames))
	size := 0
	for _, f := range frames {
		if len(f) == 0 || len(f) > MaxFrame {
			return ErrFrame
		}
		next, size = append(next, bytes.Clone(f)), size+len(f)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frames, v.size = next, size
	return nil
}

// Size implements Memory.
func (v *Volatile) Size() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.size
}

// Close implements Memory.
func (v *Volatile) Close() error { return nil }
