package concentrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
)

// Bounds of the spool and of one delivery.
const (
	maxSpool     = 50_000
	maxDelivery  = 50
	deliverBytes = 512 << 10
)

// spool keeps day blocks from the moment they were read until the IS has them durably, a file a block.
type spool struct {
	dir string

	mu    sync.Mutex
	names map[string]bool
}

func openSpool(dir string, log *slog.Logger) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &spool{dir: dir, names: map[string]bool{}}
	for _, f := range files {
		if _, err := s.read(f.Name()); err != nil {
			// Half written by a crash, or damaged: the IS misses the block and asks for it again.
			log.Warn("spool.dropped", "file", f.Name(), "error", err)
			if err := durable.Remove(filepath.Join(dir, f.Name())); err != nil {
				return nil, fmt.Errorf("spool: %w", err)
			}
			continue
		}
		s.names[f.Name()] = true
	}
	return s, nil
}

func blockName(meter dlms.SystemTitle, day string, channel dlms.OBIS) string {
	return fmt.Sprintf("%s-%s-%s.block", meter, day, channel)
}

func (s *spool) has(meter dlms.SystemTitle, day string, channel dlms.OBIS) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[blockName(meter, day, channel)]
}

func (s *spool) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.names)
}

// put keeps a block durably.
func (s *spool) put(b bus.DayBlock) error {
	line, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if s.len() >= maxSpool {
		return refused(fmt.Sprintf("the spool is full: %d blocks wait for the central system", maxSpool))
	}
	name := blockName(b.Meter, b.Day, b.Channel)
	if err := durable.ReplaceLines(filepath.Join(s.dir, name), line); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = true
	return nil
}

func (s *spool) read(name string) (b bus.DayBlock, err error) {
	if !strings.HasSuffix(name, ".block") {
		return b, errors.New("not a block")
	}
	o, err := durable.OpenLines(filepath.Join(s.dir, name))
	if err != nil {
		return b, err
	}
	if err := o.Close(); err != nil {
		return b, err
	}
	if len(o.Content) != 1 || o.Torn {
		return b, durable.ErrDamaged
	}
	if err := json.Unmarshal(o.Content[0], &b); err != nil {
		return b, err
	}
	if blockName(b.Meter, b.Day, b.Channel) != name {
		return b, errors.New("another block's name")
	}
	return b, nil
}

// next returns blocks for one delivery, the oldest days first, none when nothing waits.
func (s *spool) next() ([]bus.DayBlock, error) {
	s.mu.Lock()
	names := make([]string, 0, len(s.names))
	for n := range s.names {
		names = append(names, n)
	}
	s.mu.Unlock()
	slices.SortFunc(names, func(a, b string) int { // by day, then meter
		return strings.Compare(a[2*dlms.SystemTitleSize:]+a, b[2*dlms.SystemTitleSize:]+b)
	})
	var out []bus.DayBlock
	size := 0
	for _, n := range names[:min(len(names), maxDelivery)] {
		b, err := s.read(n)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		if size += 24*len(b.Values) + 512; size > deliverBytes && len(out) > 0 {
			break
		}
		out = append(out, b)
	}
	return out, nil
}

// done removes what the IS has.
func (s *spool) done(blocks []bus.DayBlock) error {
	for _, b := range blocks {
		name := blockName(b.Meter, b.Day, b.Channel)
		if err := durable.Remove(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		s.mu.Lock()
		delete(s.names, name)
		s.mu.Unlock()
	}
	return nil
}
