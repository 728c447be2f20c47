package server

import "time"

// Bounds on answers to what does not verify (ours, see the package comment).
const (
	refusalBurst  = 16
	refusalRefill = 5 * time.Second
)

// limiter bounds how often a (link, SAP) is told about APDUs that do not verify. It bounds answers and events, never
// attempts: a stranger who empties it keeps nobody out.
type limiter struct {
	spent uint8
	since time.Time // of the oldest refill not counted yet
}

// take reports whether one more answer may go out.
func (l *limiter) take(now time.Time) bool {
	if l.empty(now) {
		return false
	}
	l.spent++
	return true
}

// empty reports whether nothing is left for now.
func (l *limiter) empty(now time.Time) bool {
	if l.spent == 0 {
		l.since = now
	}
	if n := now.Sub(l.since) / refusalRefill; n > 0 {
		l.spent -= uint8(min(n, time.Duration(l.spent)))
		l.since = l.since.Add(n * refusalRefill)
	}
	return l.spent >= refusalBurst
}
