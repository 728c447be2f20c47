package meter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
)

// ErrMemory is returned for a memory whose records make no sense together.
var ErrMemory = errors.New("meter: memory")

// recordKind is the first byte of a record.
type recordKind byte

// The records. Their numbers and forms are on disk: none is ever given another meaning.
const (
	recBirth    recordKind = 1 + iota // what the factory set: first of all
	recMaster                         // CCC
	recKey                            // a key in force from now on, with fresh counters; also its fingerprint
	recPrint                          // the fingerprint of a key that was in force once
	recSend                           // a reserved block of a sending counter
	recFloor                          // a receive floor
	recBreaker                        // the state of the breaker
	recClock                          // the clock was moved
	recEvent                          // an entry of a log
	recDayFloor                       // a receive floor of a derived key
	recPassed                         // a day whose derived keys, and those of all days before, are refused for ever
)

// frameWriter writes the records of one frame: kind, length, body. Numbers are big-endian. The length is one byte; the
// longest body, a key's, has 29.
type frameWriter struct {
	b []byte
}

func (w *frameWriter) record(kind recordKind, body func(b []byte) []byte) {
	start := len(w.b)
	w.b = body(append(w.b, byte(kind), 0))
	w.b[start+1] = byte(len(w.b) - start - 2)
}

func (w *frameWriter) birth(v birth) {
	w.record(recBirth, func(b []byte) []byte {
		b = append(b, v.title[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(v.installed))
		b = binary.BigEndian.AppendUint32(b, v.scale)
		return binary.BigEndian.AppendUint32(b, uint32(v.shift))
	})
}

func (w *frameWriter) master(k key.Master) {
	w.record(recMaster, func(b []byte) []byte { return appendKey(b, k) })
}

func (w *frameWriter) key(r role.Role, generation uint32, changed moment, k key.Unicast) {
	w.record(recKey, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(append(b, byte(r)), generation)
		b = binary.BigEndian.AppendUint64(b, uint64(changed))
		return appendKey(b, k)
	})
}

// appendKey leaves no other copy of the key behind.
func appendKey(b []byte, k key.Key) []byte {
	bytes := key.Reveal(k)
	defer clear(bytes)
	return append(b, bytes...)
}

func (w *frameWriter) print(fp key.Fingerprint) {
	w.record(recPrint, func(b []byte) []byte { return append(b, fp[:]...) })
}

func (w *frameWriter) send(r role.Role, generation uint32, v security.Reservation) {
	w.record(recSend, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(append(b, byte(r)), generation)
		b = binary.BigEndian.AppendUint32(b, uint32(v.Ceiling))
		return binary.BigEndian.AppendUint32(b, v.Raised)
	})
}

func (w *frameWriter) floor(r role.Role, generation uint32, v security.Floor) {
	w.record(recFloor, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(append(b, byte(r)), generation)
		return binary.BigEndian.AppendUint32(append(b, v.Title[:]...), uint32(v.Last))
	})
}

func (w *frameWriter) dayFloor(r role.Role, generation uint32, v dayFloor) {
	w.record(recDayFloor, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(append(b, byte(r)), generation)
		b = append(append(b, v.title[:]...), v.day[:]...)
		return binary.BigEndian.AppendUint32(b, uint32(v.last))
	})
}

func (w *frameWriter) passed(r role.Role, generation uint32, day dlms.Day) {
	w.record(recPassed, func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32(append(b, byte(r)), generation), day[:]...)
	})
}

func (w *frameWriter) breaker(v breakerState) {
	w.record(recBreaker, func(b []byte) []byte {
		return binary.BigEndian.AppendUint64(append(b, byte(v.position)), uint64(v.since))
	})
}

func (w *frameWriter) clock(v clockStep) {
	w.record(recClock, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, uint64(v.at))
		b = binary.BigEndian.AppendUint64(b, uint64(v.offset))
		b = binary.BigEndian.AppendUint32(b, uint32(v.counted))
		return append(b, flag(v.cold))
	})
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (w *frameWriter) event(v logEntry) {
	w.record(recEvent, func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint64(append(b, byte(v.log)), uint64(v.at)), byte(v.code))
	})
}

// body reads a record's body. After a first fault it returns zeros.
type body struct {
	b   []byte
	bad bool
}

func (r *body) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *body) u8() byte    { return r.take(1)[0] }
func (r *body) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *body) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *body) title() dlms.SystemTitle { return dlms.SystemTitle(r.take(dlms.SystemTitleSize)) }

func (r *body) day() dlms.Day { return dlms.Day(r.take(dlms.DaySize)) }

// whole reports whether the body had exactly what was read.
func (r *body) whole() bool { return !r.bad && len(r.b) == 0 }

// records calls take for every record of a frame.
func records(frame []byte, take func(kind recordKind, b body) error) error {
	for len(frame) > 0 {
		if len(frame) < 2 || len(frame) < 2+int(frame[1]) {
			return fmt.Errorf("%w: a record is cut", ErrMemory)
		}
		end := 2 + int(frame[1])
		if err := take(recordKind(frame[0]), body{b: frame[2:end:end]}); err != nil {
			return err
		}
		frame = frame[end:]
	}
	return nil
}
