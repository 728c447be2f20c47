package cosem

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// ImageMemory is an [ImageStore] in memory, for a simulated device. It is safe for concurrent use.
type ImageMemory struct {
	// Check verifies a whole image and returns what is in it; nil takes every image as it is. It must not keep image.
	Check func(identifier, image []byte) ([]ImageInfo, error)
	// Use activates a whole image; nil does nothing. It must not keep image.
	Use func(identifier, image []byte) error

	mu    sync.Mutex
	state ImageState
	image []byte
}

// Load implements [ImageStore].
func (m *ImageMemory) Load() (ImageState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Blocks.bits = bytes.Clone(s.Blocks.bits)
	return s, nil
}

// Begin implements [ImageStore].
func (m *ImageMemory) Begin(s ImageState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.image = s, make([]byte, s.Size)
	return nil
}

// Put implements [ImageStore].
func (m *ImageMemory) Put(block uint32, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := uint64(block) * uint64(m.state.BlockSize)
	if at+uint64(len(value)) > uint64(len(m.image)) {
		return fmt.Errorf("image: %w: block %d", ErrValue, block)
	}
	copy(m.image[at:], value)
	m.state.Blocks.Set(block)
	return nil
}

// SetStatus implements [ImageStore].
func (m *ImageMemory) SetStatus(s ImageStatus, ready []ImageInfo) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Status, m.state.Ready = s, slices.Clone(ready)
	return nil
}

// Verify implements [ImageStore].
func (m *ImageMemory) Verify() ([]ImageInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Check == nil {
		return []ImageInfo{{Size: m.state.Size, Identifier: m.state.Identifier}}, nil
	}
	return m.Check(m.state.Identifier, m.image)
}

// Activate implements [ImageStore].
func (m *ImageMemory) Activate() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Use == nil {
		return nil
	}
	return m.Use(m.state.Identifier, m.image)
}
