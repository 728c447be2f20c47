// Package meter is the simulated electricity meter: keys in a non-volatile memory, clock, breaker, event logs and a
// load curve that is replayed, behind the objects and associations of a profile.
//
// A [Profile] is data: which clients there are, which security setup's key opens their associations, what each may
// reach. linky is the meter as published; hardened is the same with what only the central system may do moved into an
// association of its own; generic is a plain meter for a test bench ([Bench]). A [Fleet] serves many meters of the
// first two from one process.
//
// # Memory
//
// Everything that has to outlive a power cut is a record in the meter's memory (package nvm), and every change of
// state is made by writing its records first and applying them afterwards, by the same code that applies them when
// the meter starts. A frame of records is kept whole or not at all, so there is no half state: the record of a new
// key, which is also its fresh counters, its fingerprint and the entry in the log, is there or is not.
//
// # Times
//
// The world's time is the host's plus an offset that the fleet keeps; loads are measured in it. A meter's clock is
// the world's time plus the meter's own error, which clients correct.
package meter
