// Package mbus is the wired M-Bus (EN 13757-2 link layer, EN 13757-1 and 13757-3 for DLMS on it) as customer
// interfaces of electricity meters use it: the meter pushes, unasked, an APDU cut into long frames.
//
//	long frame     68 L L 68 C A CI data... CS 16     L counts C, A, CI and data; CS is their sum modulo 256
//	control frame  68 03 03 68 C A CI CS 16
//	short frame    10 C A CS 16
//	acknowledge    E5
//
// A CI of 00 to 1F carries a segment of a DLMS APDU: bits 0 to 3 are its number, from 0, and bit 4 marks the last
// one. Before the data of every segment stand the SAPs of source (STSAP) and destination (DTSAP), one octet each.
//
// [Frame] and [Segment] are the codec, [Decoder] finds frames in a stream, [Assembler] puts segments together; none
// of them touches a device. The link has no security at all: the sum finds an accident on the line and nothing else.
package mbus
