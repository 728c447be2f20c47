package meter

import (
	"iter"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/server"
	"github.com/meterseal/meterseal/internal/role"
)

// logNumber is value group E of a log, 0.0.99.98.E.255.
type logNumber uint8

// The logs, in the order in which they are published.
const (
	logMain logNumber = 1 + iota
	logCover
	logBreaker
	logCommunication
	logVoltageCut
	logCount = logVoltageCut
)

// logCapacity is how many entries a log keeps (ours).
const logCapacity = 100

// Code is an event code of a log. Those below 240 are published, those from 240 on are ours.
type Code uint8

// Codes of the communication log.
const (
	codeLANFailed       Code = 29
	codeLocaleFailed    Code = 30
	codeLocalOpened     Code = 31
	codeLocalClosed     Code = 32
	codeLocalError      Code = 33
	codeReadWriteOpened Code = 34
	codeReadWriteClosed Code = 35
	codeReadWriteError  Code = 36
	codeBroadcastOpened Code = 37
	codeBroadcastClosed Code = 38
	codeBroadcastError  Code = 39
	codeISFailed        Code = 241
	codeISOpened        Code = 242
	codeISClosed        Code = 243
	codeISError         Code = 244
)

// Codes of the breaker log. That the remote command arms the breaker and 12 is the customer's press is our reading.
const (
	codeBreakerOpened         Code = 1
	codeBreakerClosedRemotely Code = 11
	codeBreakerClosedByHand   Code = 12
)

// Codes of the main log.
const (
	codeLANChanged    Code = 94
	codeLocaleChanged Code = 95
	codeISChanged     Code = 240
	codeClockMoved    Code = 245
	codeClockRefused  Code = 246
	codePrintsFull    Code = 247 // no room for the fingerprint of another key: an alarm
	codeUnproven      Code = 248 // a key is refused because its counters cannot be read
)

// changed is the code of a key that was changed.
func changed(r role.Role) Code {
	switch r {
	case role.CCLAN:
		return codeLANChanged
	case role.CCLOCALE:
		return codeLocaleChanged
	default:
		return codeISChanged
	}
}

// failed is the code of a key that was not changed.
func failed(r role.Role) Code {
	switch r {
	case role.CCLAN:
		return codeLANFailed
	case role.CCLOCALE:
		return codeLocaleFailed
	default:
		return codeISFailed
	}
}

// logEntry is one entry: when, by the meter's clock, and what.
type logEntry struct {
	log  logNumber
	code Code
	at   moment
}

// eventLog keeps the newest entries of one log, the oldest first.
type eventLog struct{ entries []logEntry }

func (l *eventLog) add(e logEntry) {
	if len(l.entries) == logCapacity {
		l.entries = slices.Delete(l.entries, 0, 1)
	}
	l.entries = append(l.entries, e)
}

func (l *eventLog) all() iter.Seq[logEntry] { return slices.Values(l.entries) }

func (m *Meter) entryLocked(log logNumber, code Code, world moment) logEntry {
	shows, _ := m.state.clock.read(world)
	return logEntry{log: log, code: code, at: shows}
}

// noteLocked writes an entry that goes with no change of state. It may be lost in a power cut, though not to a crash.
func (m *Meter) noteLocked(log logNumber, code Code) {
	w := new(frameWriter)
	w.event(m.entryLocked(log, code, m.kind.world()))
	if err := m.commitLocked(w, false); err != nil {
		m.kind.options.Log.Error("meter.log.lost", "system_title", m.state.birth.title, "code", int(code), "error", err)
	}
}

// Event implements server.Device: it keeps the communication log.
func (m *Meter) Event(e server.Event) {
	codes, ok := associationCodes(e.Client)
	if !ok {
		return
	}
	code := codes.failure
	switch e.Kind {
	case server.EventOpened:
		code = codes.opened
	case server.EventClosed:
		code = codes.closed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noteLocked(logCommunication, code)
}

type codes struct{ opened, closed, failure Code }

// associationCodes returns the codes of a client's associations. The public client's are not logged: anybody could
// flush the log with them.
func associationCodes(client dlms.SAP) (codes, bool) {
	switch client {
	case role.SAPTSP:
		return codes{codeLocalOpened, codeLocalClosed, codeLocalError}, true
	case role.SAPReadWrite:
		return codes{codeReadWriteOpened, codeReadWriteClosed, codeReadWriteError}, true
	case role.SAPBroadcast:
		return codes{codeBroadcastOpened, codeBroadcastClosed, codeBroadcastError}, true
	case role.SAPIS:
		return codes{codeISOpened, codeISClosed, codeISError}, true
	}
	return codes{}, false
}
