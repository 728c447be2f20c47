package iec62056

// maxEcho bounds what is remembered of what was sent: more than a window of the longest HDLC frames.
const maxEcho = 1 << 15

// Echo takes out of what is received what an optical head or a two-wire line gives back of what was sent. The first
// octet that differs ends the search: what comes then is no echo.
//
// It is not safe for concurrent use.
type Echo struct {
	sent []byte
}

// Sent remembers octets that went out.
func (e *Echo) Sent(b []byte) {
	e.sent = append(e.sent, b[max(0, len(b)-maxEcho):]...)
	e.sent = e.sent[max(0, len(e.sent)-maxEcho):]
}

// Strip returns b without the echo at its start, which may come in pieces.
func (e *Echo) Strip(b []byte) []byte {
	n := 0
	for n < len(b) && n < len(e.sent) && b[n] == e.sent[n] {
		n++
	}
	e.sent = e.sent[n:]
	if n < len(b) {
		e.sent = nil
	}
	return b[n:]
}
