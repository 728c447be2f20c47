// Package shipment is how meters' keys come to a central system: from the maker (a shipment: the first keys of one
// delivery) and from another head-end (a transfer: meters that are running). docs/shipment.md has both forms, byte by byte.
//
// Both are JSON lines: a header, a row a meter, and a last line with an Ed25519 signature over all before it. The keys are
// AES key wrap (RFC 3394) under one AES key of the file, which is wrapped with RSA-OAEP to the transport key of the vault
// that the file is for (package transport): a vault on a token opens them inside the token. Nothing in a file is secret in
// clear, and the whole signature is verified before the first row is acted on ([Spool]).
//
// A third form is for the factory of simulated meters alone: the same rows in clear, encrypted with age to the factory.
package shipment
