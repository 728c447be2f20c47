// Package key holds the symmetric keys of security suite 0 (GB 9.2.3), one Go type for each role.
//
// A key that wraps keys does not fit where a key that carries traffic is wanted: the roles are types that do not
// convert into each other. The bytes live inside a closure, so that printing, logging, marshalling and walking a
// value by reflection find nothing, and comparing two keys with == does not compile (comparing them as interface
// values panics, as for every func). [Reveal] is the one way to the bytes.
//
// A [Secret] is what is shared and is no key: a password, an HLS secret. It hides in the same way.
//
// A key is named by its [CheckValue] and its [Fingerprint], both AES-CMAC over a fixed text. Neither is the
// encryption of a block of zeros, which is the hash key of GCM.
//
// What this package cannot do: Go moves and copies memory as it likes, and the key schedules inside crypto/aes are
// out of reach, so bytes of a dropped key may stay in memory until they are overwritten, and a core dump or a
// debugger sees every key in use. Temporary copies made here are overwritten after use, which shortens that time
// and promises nothing.
package key
