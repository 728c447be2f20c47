package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/enrol"
)

const (
	// counterBlock is how many sending counters are reserved at a time.
	counterBlock = 64
	// tornSkip is skipped when the end of a file was torn off: it may have been a reservation that was durable and
	// damaged later.
	tornSkip = 2 * counterBlock
	// compactAt is the size in bytes at which a file is written anew.
	compactAt = 32 << 10
)

// record is a line: what it has replaces what was known; counters never go back.
type record struct {
	Sealed  *enrol.SealedKey       `json:"sealed,omitempty"`
	Phase   bus.Phase              `json:"phase,omitempty"`
	Ceiling dlms.InvocationCounter `json:"ceiling,omitempty"`
	// Last is the last counter taken from the meter; Heard tells 0 from none.
	Last  dlms.InvocationCounter `json:"last,omitempty"`
	Heard bool                   `json:"heard,omitempty"`
}

func (r *record) apply(n record) {
	if n.Sealed != nil {
		r.Sealed = n.Sealed
	}
	if n.Phase != "" {
		r.Phase = n.Phase
	}
	r.Ceiling = max(r.Ceiling, n.Ceiling)
	r.Last = max(r.Last, n.Last)
	r.Heard = r.Heard || n.Heard
}

// entry is one held version.
type entry struct {
	ring *Ring
	id   id
	key  key.Unicast

	mu    sync.Mutex // of file and state
	file  *durable.Lines
	last  dlms.InvocationCounter // in the name of the file
	state record

	send  sendCounter
	floor *security.FloorTable
}

// sendCounter lets the end of the counters move while associations hold it.
type sendCounter struct {
	mu    sync.Mutex
	block *security.BlockCounter
}

// Next implements security.SendCounter.
func (c *sendCounter) Next() (dlms.InvocationCounter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.block.Next()
}

func (r *Ring) path(k id, last dlms.InvocationCounter) string {
	return filepath.Join(r.cfg.Dir, fmt.Sprintf("%s-%08x-%08x.key", k.meter, k.version, uint32(last)))
}

func parseName(name string) (k id, last dlms.InvocationCounter, ok bool) {
	var title string
	var version, counter uint32
	if n, err := fmt.Sscanf(name, "%16s-%08x-%08x.key", &title, &version, &counter); err != nil || n != 3 {
		return id{}, 0, false
	}
	meter, err := dlms.ParseSystemTitle(title)
	k, last = id{meter, version}, dlms.InvocationCounter(counter)
	return k, last, err == nil && name == filepath.Base((&Ring{}).path(k, last))
}

// newEntry writes the first file of a version. Its name is durable after sync.
func (r *Ring) newEntry(k id, opened key.Unicast, rec record) (*entry, error) {
	line, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	r.renamed = true
	file, err := durable.WriteLines(r.path(k, rec.Sealed.LastCounter), line)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return r.entry(k, file, opened, rec)
}

// openEntry reads the file of a version. Whatever in it does not verify is durable.ErrDamaged.
func (r *Ring) openEntry(k id, last dlms.InvocationCounter) (*entry, error) {
	o, err := durable.OpenLines(r.path(k, last))
	if err != nil {
		return nil, err
	}
	e, err := r.readEntry(k, last, o)
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return e, nil
}

func (r *Ring) readEntry(k id, last dlms.InvocationCounter, o durable.Opened) (*entry, error) {
	var state record
	for i, line := range o.Content {
		var rec record
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&rec); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", durable.ErrDamaged, i+1, err)
		}
		state.apply(rec)
	}
	if len(o.Content) == 0 {
		return nil, errErased
	}
	if state.Sealed == nil || state.Sealed.LastCounter != last || rank(state.Phase) == 0 {
		return nil, fmt.Errorf("%w: want a sealed key with counters to %d and a phase", durable.ErrDamaged, last)
	}
	opened, err := r.open(k, *state.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", durable.ErrDamaged, err)
	}
	if o.Torn {
		reached := max(uint64(state.Ceiling), uint64(state.Sealed.FirstCounter)-1) + tornSkip
		state.Ceiling = dlms.InvocationCounter(min(reached, uint64(last)))
	}
	return r.entry(k, o.Lines, opened, state)
}

func (r *Ring) entry(k id, file *durable.Lines, opened key.Unicast, state record) (*entry, error) {
	e := &entry{ring: r, id: k, key: opened, file: file, last: state.Sealed.LastCounter, state: state}
	var floors []security.Floor
	if state.Heard {
		floors = []security.Floor{{Title: k.meter, Last: state.Last}}
	}
	var err error
	if e.floor, err = security.NewFloorTable(security.FloorConfig{Floors: floors, Persist: e.keepFloor}); err != nil {
		return nil, err
	}
	start := security.Reservation{Ceiling: max(state.Ceiling, state.Sealed.FirstCounter-1)}
	e.send.block, err = e.counter(start, e.last)
	return e, err
}

func (e *entry) counter(start security.Reservation, limit dlms.InvocationCounter) (*security.BlockCounter, error) {
	return security.NewBlockCounter(security.BlockConfig{Start: start, Size: counterBlock, Limit: limit, Reserve: e.reserve})
}

func (e *entry) reserve(r security.Reservation) error {
	return e.keep(record{Ceiling: r.Ceiling})
}

func (e *entry) keepFloor(f security.Floor) error {
	if f.Title != e.id.meter {
		return fmt.Errorf("%w: want %s, got %s", security.ErrTitle, e.id.meter, f.Title)
	}
	return e.keep(record{Last: f.Last, Heard: true})
}

// keep makes a change durable and applies it.
func (e *entry) keep(rec record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keepLocked(rec)
}

func (e *entry) keepLocked(rec record) error {
	if e.file == nil {
		return ErrNoKey // removed while an association still held it
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := e.file.Append(line); err != nil {
		return err
	}
	e.state.apply(rec)
	if e.file.Size() > compactAt {
		return e.rewriteLocked(e.state)
	}
	return nil
}

// rewriteLocked writes state as one line into the file whose name tells its last counter, and takes it.
func (e *entry) rewriteLocked(state record) error {
	line, err := json.Marshal(state)
	if err != nil {
		return err
	}
	last := state.Sealed.LastCounter
	path := e.ring.path(e.id, last)
	if err := durable.ReplaceLines(path, line); err != nil {
		return err
	}
	o, err := durable.OpenLines(path)
	if err != nil {
		return err
	}
	old, oldPath := e.file, e.ring.path(e.id, e.last)
	e.file, e.last, e.state = o.Lines, last, state
	if oldPath != path {
		err = durable.Remove(oldPath)
	}
	return errors.Join(err, old.Close())
}

// extend lets the counters go on to the end of s. One that ends earlier changes nothing.
func (e *entry) extend(s enrol.SealedKey) error {
	e.send.mu.Lock()
	defer e.send.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.LastCounter <= e.last {
		return nil
	}
	if e.file == nil {
		return ErrNoKey
	}
	// What is kept of the new seal is its end: the counter goes on where it is, in ranges that are all this
	// concentrator's own.
	next := e.state
	next.Sealed, next.Ceiling = &s, max(next.Ceiling, e.send.block.Reservation().Ceiling)
	if err := e.rewriteLocked(next); err != nil {
		return err
	}
	block, err := e.counter(security.Reservation{Ceiling: next.Ceiling}, s.LastCounter)
	if err == nil {
		e.send.block = block
	}
	return err
}

func (e *entry) phase() bus.Phase {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.Phase
}

// Copies lists the sealed keys as they came, with the counters that go with each, by meter and version: what the central
// system may want back that has lost its own. They open for this concentrator and for the central system alone.
func (r *Ring) Copies() []enrol.SealedKey {
	list := []enrol.SealedKey{}
	for _, h := range r.Held() {
		r.mu.Lock()
		if e := r.meters[h.Meter][h.Version]; e != nil {
			list = append(list, e.copy())
		}
		r.mu.Unlock()
	}
	return list
}

func (e *entry) copy() enrol.SealedKey {
	e.mu.Lock()
	defer e.mu.Unlock()
	return *e.state.Sealed
}

func (e *entry) setPhase(p bus.Phase) error { return e.keep(record{Phase: p}) }

func (e *entry) longTerm() (security.LongTerm, error) {
	aead, err := e.key.AEAD()
	if err != nil {
		return security.LongTerm{}, err
	}
	if e.ring.cfg.WrapAEAD != nil {
		aead = e.ring.cfg.WrapAEAD(aead, e.key.Fingerprint())
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		return security.LongTerm{}, err
	}
	return security.LongTerm{Cipher: c, Send: &e.send, Floor: e.floor, Generation: e.id.version}, nil
}

func (e *entry) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.file == nil {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}

// erase forgets the key and leaves an empty file, whose name says how far its counters may have gone: the version may
// come back: with the meter, or because it turns out to be in force. The caller has the ring's lock, and syncs it.
func (e *entry) erase() error {
	e.ring.renamed = true
	err := e.close()
	_, failed := durable.WriteLines(e.ring.path(e.id, e.last))
	return errors.Join(err, failed)
}
