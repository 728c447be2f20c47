// Package layering holds the shape of the code: who may import whom, who may take the bytes out of a key, how long
// a file and a function may be, what must be documented and fuzzed. It has no code of its own, only tests, and the
// rules are tables in rules_test.go.
//
// The tests parse the module's files themselves instead of asking the go command: files opened by a test are part
// of what its cached result depends on, what a child process reads is not. A cached "ok" is therefore never older
// than the code.
package layering
