// Package keysfile keeps what a bench meter and a command-line client need between two runs: the keys of one meter
// in keys.json, and the invocation counters of those keys in keys.json.counters beside it.
//
// Counters are reserved durably before they are used and are never lowered, so that no (key, system title, counter)
// is used twice: not after a crash, not by two commands in a row or at once. Deleting the counters file takes that
// guarantee away for a meter, whose title is fixed; a client whose title came from [Counters.OwnTitle] loses its
// title with the file and starts in a nonce space of its own.
package keysfile
