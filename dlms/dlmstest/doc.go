// Package dlmstest helps to test DLMS ends, ours and those of others: an [Oracle] that sees whether a nonce is ever
// used twice, a [Hostile] link that loses, repeats and alters APDUs by a script, and a loader of test vectors that
// fails when it finds none.
//
// It does not import package testing, so that a laboratory may run the oracle too.
package dlmstest

// TB is the part of testing.TB that this package uses.
type TB interface {
	// Helper is that of testing.TB, and so are the others.
	Helper()
	// Errorf marks the test as failed.
	Errorf(format string, args ...any)
	// Fatalf marks the test as failed and ends it.
	Fatalf(format string, args ...any)
	// Cleanup calls f when the test has ended.
	Cleanup(f func())
}
