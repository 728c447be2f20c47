// Package shipment is the maker's file: the first keys of the meters of one delivery.
//
// A file is encrypted with age to its one reader and holds JSON lines: a [Header], then one row a meter. The same
// [Write] makes the file for the central system (to its vault's recipient) and the file from which the meters of a
// simulated factory take their memory (to the factory's recipient); nobody else reads either.
//
// Reading streams, with bounded lines. A row that is damaged is refused alone and the next one is read. age
// authenticates 64 KiB at a time, so of a file that was cut after encryption the whole pieces before the cut are
// read. Keys are typed from the moment a row is parsed; no error echoes a row.
package shipment
