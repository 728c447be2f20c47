// Package interop replays exchanges with independent implementations of DLMS/COSEM. It holds tests alone.
//
// Each file of testdata is one connection between one end of ours and one end of somebody else's, byte by byte as it
// went over TCP, with the keys of the test and whose end it was. The randomness and the clock of our end were fixed
// when it was recorded, so that the same end, fed the other's bytes again, must say the same bytes again: a change
// that would be noticed in the field is noticed here. What was run, with what result, is told in docs/interop.md.
//
// The keys are those that the documentation of the other projects names for tests, or made for the recording. None
// is a key of a device.
package interop
