// Package vault keeps the long-term keys of all meters and works with them. It speaks in operations, never in
// bytes: generate the next CC_LAN of this meter, wrap it under the meter's CCC, seal it to that concentrator, open
// an association with this meter. No method returns a key, so that a token can stand where [Software] stands.
//
// # Order of effects
//
//  1. the new row or counter block is appended to the key journal, a second durable target, and synced;
//  2. the same, and the audit entry that says what is about to be done, is committed to the store;
//  3. the key is used, and the wrapped or sealed key or the handle goes to the caller;
//  4. the result is entered in the audit log.
//
// A crash between two steps leaves more on record than was done, never less: a version that nobody has, a block of
// counters that is skipped, an intent without a result.
//
// # At rest
//
// A key row is the key wrapped (RFC 3394) under the root, and an AES-CMAC under the root's MAC key over whose key
// it is: vault, meter, role, version, suite, term, names and blob. It is checked before the blob is touched, so a
// row copied to another meter, role or version does not open. The vault's ID stands for its tenant, whose name goes into it.
// Everything fails closed; there is no fallback.
//
// # Terms of the root
//
// The root has terms. A rotation stages a new one in the root file of the node that is asked; when every node has it, each
// seals new rows under it, and one of them seals all others anew in the background. Each step is in the file or the
// store before the next one, and can be done again. Older terms open what is under them until they are retired, which
// takes proof that the store, every node and a newer backup do without. What the store says of a rotation has a MAC under
// the term: whoever can write the store, and has no root, can delay one, and neither begin one nor end a term.
package vault
