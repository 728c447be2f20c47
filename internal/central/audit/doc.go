// Package audit is the record of what was done with keys, and of what else an auditor asks for (law 8).
//
// Writing has two steps. [Log.Append] adds entries to the table inside the caller's own commit: the intent before a
// long-term key is used, the result after. [Log.Sequence] numbers committed entries as leaves of a Merkle tree
// (RFC 6962, by golang.org/x/mod/sumdb/tlog) and signs the head as a checkpoint. A head that has left the machine
// cannot be taken back: [Verify] finds, offline, any record that was changed, removed or put elsewhere since.
//
// Entries name keys by meter, role, version and check value; they never hold one.
package audit
