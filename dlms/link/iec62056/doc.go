// Package iec62056 is the opening of a local port in protocol mode E (IEC 62056-21, protocol mode E with HDLC; GB, physical
// layer for local data exchange): at 300 baud, seven bits and even parity, reader and meter agree in four short lines of
// text that HDLC follows, and how fast.
//
//	reader  /?DEVICE-ADDRESS!           request
//	meter   /XXXZ\2IDENTIFICATION       identification: maker, fastest speed, "\2" for HDLC
//	reader  ACK 2 Z 2                   acknowledgement: protocol control 2, speed, mode 2 (binary)
//	meter   ACK 2 Z 2                   confirmation
//
// Then both change to speed Z, eight bits and no parity, and speak HDLC (package hdlc).
//
// [Reader] and [Meter] are state machines without ports, goroutines or clocks: octets go in (Receive), octets come out
// (Output), and the caller says when he has waited long enough (Timeout). Nothing here is secret or trusted: an
// identification is what somebody at the port wrote.
package iec62056
