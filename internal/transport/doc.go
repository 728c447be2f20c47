// Package transport is how keys reach a vault: an RSA key of the vault, whose public half everybody may have, and under it
// an AES key of one file or message, wrapped with RSA-OAEP (RFC 8017 7.1). The keys themselves travel as AES key wrap
// (RFC 3394) under that AES key, so that a vault on a token can open all of it inside the token.
//
// An [Envelope] is the part of such a file that says whom it is for. Its form has room for two hash functions: tokens exist
// that do OAEP with SHA-1 alone. SHA-1 is broken for signatures; OAEP needs no resistance to collisions, and none of the
// attacks on SHA-1 touches it (RFC 8017 B.1). Labels are not used: the same tokens refuse them.
package transport
