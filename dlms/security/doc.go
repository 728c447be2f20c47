// Package security protects APDUs and keeps the counters that the protection stands on: security suites and the
// security control byte, AES-GCM protection (GB 9.2.3.3.7), HLS with GMAC and with SHA-256 (GB 9.2.7.4), invocation
// counters for sending, floors for receiving.
//
// Three rules shape it. No initialization vector is used twice under a key: a [SendCounter] is durable before it
// hands a value out. Authenticate, then count: a [ReceiveFloor] is checked before a tag is verified and moved only
// after. Fail closed: an APDU with less protection than the policy, another suite or an unknown key set is refused.
//
// It works on what a key does (a cipher.AEAD), not on the key, so that a token can stand behind it. What an end holds
// of one version of a long-term key is a [LongTerm].
//
// # To receive
//
//	err := acceptance.Check(control)                          // no less than what was agreed
//	err = floor.Check(title, counter)                         // not seen before; moves nothing
//	plain, err := cipher.Open(nil, control, title, counter, content)
//	err = floor.Commit(title, counter)                        // durable, before plain takes effect
//
// [Cipher.Open] into content[:0] saves the copy; content is then lost also where the tag does not verify, so whoever
// tries several keys opens into a buffer of its own. General-ciphering has more to authenticate: [Cipher.OpenWith]. Some
// customer interfaces encrypt and do not authenticate; only an [Acceptance] that names it lets that pass, to
// [Cipher.OpenUnauthenticated].
//
// # To send
//
//	counter, err := send.Next()                               // durable, before it is spent
//	buf, err := response.Append(make([]byte, security.Reserve, 512))
//	out, err := cipher.SealInPlace(buf, envelope)
//
// [Cipher.Seal] appends the content alone. Neither ever encrypts without authenticating.
package security
