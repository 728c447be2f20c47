// Package hdlc is the data link of DLMS/COSEM over HDLC (IEC 62056-46, GB 8): serial lines, optical ports, and the
// same bytes over TCP.
//
// Frames are of type 3, addresses of one, two or four octets, normal response mode: the client ([Primary]) speaks,
// gives the turn away with the poll bit and gets it back with the final bit; the server ([Secondary]) speaks only
// when it has the turn. Both are state machines without sockets, goroutines or clocks: bytes and the time go in,
// bytes and APDUs come out. [Conn] and [Serve] join them to a stream.
//
// Unnumbered information (UI frames) goes beside the numbered: a server sends pushes in it (see [Secondary.Push]),
// which the client takes by Config.OnUnnumbered, and a client reaches all stations at once, addresses 0x7F in one
// octet and 0x3FFF in two.
//
// What the link promises is what HDLC promises: while a link is up, each APDU arrives once, whole and in order, or
// the link fails. It has no security at all. A stranger on the line can send SNRM or DISC in anybody's name; that
// ends the link and nothing above it (see link.Disconnecter). The client connects again; an association secured by
// ciphering does not notice.
package hdlc
