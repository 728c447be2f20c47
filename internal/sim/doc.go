// Package sim runs the whole system, the real central system, concentrators and meters, on virtual time under every
// fault that can be injected, from a seed, and counts what must never happen: a meter that the central system cannot
// reach any more, a nonce used twice, a key rolled back (laws 4, 5 and 6).
//
// One seed is one [World]: a few concentrators and meters, a storm of key changes and faults, then a calm in which
// everything that is still alive may finish, then the count. The parts are the real ones; what is simulated is what lies
// between them (the WAN, the power line), what lies under them (power, memory, databases, clocks) and who sits in the
// middle (a concentrator that lies). Everything runs one after the other, so that a seed replays exactly.
//
// A World works inside a bubble of testing/synctest, where time is virtual: nothing waits for a real clock.
package sim
