// Package decode shows what DLMS/COSEM bytes mean: it turns frames and APDUs into a tree of named nodes, each with
// the range of bytes that it stands for and its value in words.
//
// It is for people and for tools that explain a recording. It takes what the parsers of
// [github.com/meterseal/meterseal/dlms/apdu] take and more: what is wrong becomes a node with an error where it
// stands, and the rest is shown all the same. Nothing that it says is a decision: an end of an association uses the
// parsers, a policy and a receive floor.
//
// [Decode] finds out by itself what it was given:
//
//   - HDLC frames (IEC 62056-46), also several and segmented ones; the COSEM wrapper; wired M-Bus frames;
//   - association APDUs in BER, and every xDLMS APDU of logical name referencing, with or without a link below it;
//   - ciphered APDUs of all forms. With keys they are deciphered; a dedicated key that came along in an
//     InitiateRequest serves for what follows it. What is encrypted without being authenticated is marked so. The text
//     telegrams that some grids cipher in this way are shown by line;
//   - APDUs in blocks: general block transfer, and the blocks of get, set and action.
//
// The keys that it is given are never shown, and neither are the keys and passwords that it finds: nodes that hold one
// say so and have no bytes. Ciphertext is shown, and so is what it cannot understand, as it came.
//
// Output and depth are bounded, whatever the input: see [Options].
package decode
