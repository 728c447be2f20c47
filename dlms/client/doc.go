// Package client is the client's end of DLMS/COSEM: it opens associations with a meter, reads, writes and invokes,
// and closes them (GB 9.3, 9.4).
//
// [Machine] is the protocol without any input or output: bytes in, bytes out, for who has a transport or a scheduler
// of his own. [Association] drives one over a link.Conn and blocks. [Broadcast] and [GlobalBroadcast] make unconfirmed
// requests to all meters of a line. [Receiver] takes what meters push without an association.
//
// # What it does
//
//	association   no authentication, LLS, HLS with GMAC (5) and with SHA-256 (6), each with and without ciphering
//	services      GET, SET, ACTION: normal, with list, in blocks, lists in blocks; selective access; release
//	long APDUs    general block transfer, window 1, without streaming, where both ends agree on it (FullConformance)
//	unasked       event and data notifications on the association (Config.Notify) and beside it (Receiver)
//	ciphering     suite 0: glo-, ded-, general-glo- and general-ded- forms; general-ciphering in a Receiver
//
// What it does not do: short names (SN), data-notification in general blocks or with confirmation, compression, suites
// 1 and 2.
//
// # What it holds to
//
// The client has a policy of its own: no answer of the server lowers it. Under a policy other than none every answer
// must be ciphered in the form of the request, with a tag that verifies, a counter at or above the floor, from the
// expected system title; only then is it parsed and does anything move. The exceptions are the refusals that the
// standard sends in clear (a rejecting AARE, exception-response, confirmed-service-error): they end an operation and
// prove nothing.
//
// Long-term keys open associations, prove identity and close them; with a dedicated key they carry nothing else. The
// dedicated key is drawn for each association, its counters start at 1, live in memory and die with it.
//
// Nothing is ever sealed twice under one counter. A request whose answer did not come may be sent again, byte by
// byte ([Config.Retries]); when nobody can tell whether it took effect, the association is broken, says so, and has
// to be opened anew.
package client
