// Package drill executes attacks on a real meter over TCP and reports what the meter refused.
//
// The attacker is an insider: it knows the maker's row of the meter (CCC and the first keys) and has recorded the line
// (Tap). Nothing else is given to it, and it owns no key of anybody else.
//
// # What it takes without asking
//
// Suite 0 has no forward secrecy. From the first keys and the recording, Derive learns every key that came later: a
// recorded AARQ opens under the long-term key, which yields the session key, which opens the key_transfer requests of
// that association, whose wrapped keys open under CCC. The chain goes on to the key in force as long as no transfer is
// missing in the recording. That this works is a finding in itself: who has CCC and one key of the chain reads every
// recorded session since, and only the ephemeral agreement of suites 1 and 2 would change it.
//
// # What it tries
//
// Superseded keys, recorded AARQs and recorded APDUs byte for byte, wrapped keys again, at another role's security
// setup and under other key ids, traffic under a long-term key, and every attribute of every object that it can reach
// in search of key bytes. A replay that would have an effect without an answer (an unconfirmed broadcast) is not
// tried: silence would prove nothing.
//
// An association of the attacker replaces the honest one on the same client SAP; it is released at the end, and the
// honest ends associate again. Each run spends one of the eight system titles that a key version serves.
package drill
