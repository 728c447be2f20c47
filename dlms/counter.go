package dlms

import (
	"errors"
	"strconv"
)

// InvocationCounter is the variable part of the initialization vector (GB 9.2.3.3.7.3): four bytes, never used
// twice under one key and system title.
type InvocationCounter uint32

// MaxInvocationCounter is the last value that may be sent. A counter at its end refuses; it never wraps.
const MaxInvocationCounter InvocationCounter = 0xFFFFFFFF

// ErrCounterExhausted is returned by a sending counter at its end: the key must be changed.
var ErrCounterExhausted = errors.New("invocation counter: exhausted, change the key")

// String returns the decimal value.
func (c InvocationCounter) String() string { return strconv.FormatUint(uint64(c), 10) }
