// Package security protects APDUs and keeps the counters that the protection stands on: security suites and the
// security control byte, AES-GCM protection (GB 9.2.3.3.7), HLS with GMAC (GB 9.2.7.4), invocation counters for
// sending, floors for receiving.
//
// Three rules shape it. No initialization vector is used twice under a key: a [SendCounter] is durable before it
// hands a value out. Authenticate, then count: a [ReceiveFloor] is checked before a tag is verified and moved only
// after. Fail closed: an APDU with less protection than the policy, another suite or an unknown key set is refused.
//
// It works on what a key does (a cipher.AEAD), not on the key, so that a token can stand behind it.
package security
