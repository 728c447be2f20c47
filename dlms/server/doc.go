// Package server is the meter's end of DLMS/COSEM: associations, protection, rights and services over the objects of
// package cosem. It is sans-io: [Server.Handle] takes the bytes of one APDU and returns the bytes of the answer.
//
// A [Model] is what a kind of device is (objects, clients, rights) and is shared by a whole fleet; a [Server] is one
// device of it, a few hundred bytes until somebody associates. Who may do what is chosen by (link, client SAP); an
// association lives in the slot of its (link, client SAP), so there are never more associations, half-open ones
// included, than the model has clients on links.
//
// To serve a meter: describe it in a [ModelConfig], implement [Device] with its keys and counters, and give
// [Server.Handler] to the Serve function of a link. See the example.
//
// # What is served
//
//   - Associations: no security, a password (LLS), HLS with GMAC, HLS with SHA-256; all but GMAC with or without
//     ciphering. Release.
//   - GET, SET and ACTION: normal, with list, in blocks, lists in blocks, return parameters in blocks; selective access
//     by range and by entry.
//   - General block transfer, where both ends offer it: of requests and of answers, window 1, without streaming. A block
//     that was lost is sent again by its number.
//   - The ciphered forms glo-, ded-, general-glo-, general-ded- and general-ciphering, authenticated, or authenticated
//     and encrypted, of suite 0, as far as the [Client] allows; an answer takes the form of its request. What is
//     encrypted without authentication is refused whatever the policy: a request is an order.
//   - Unconfirmed services to all stations under a broadcast key, but for orders that nobody may give who only holds that
//     key: nothing that switches the supply, changes keys, or puts an image or a calendar in force.
//   - Event and data notifications: [Server.EventNotification], [Server.DataNotification].
//
// A [Client] that leaves its optional fields alone is served none of what is beyond the ordinary: no password, no
// general form, no general-ciphering, no global broadcast key, no general block transfer, no notifications.
//
// # Rules
//
// Authenticate, then act (GB 9.2.3 and our law 9): the tag of an APDU is verified before its counter is looked at, the
// counter is committed before the APDU takes effect, and nothing inside an APDU is parsed before that. An AARQ
// disturbs an open association only once its ciphered InitiateRequest has verified, its counter is committed and it
// has been accepted. After the AARE only reply_to_HLS_authentication is served. A link that ends disturbs no ciphered
// association.
//
// What follows an authentication in clear (LLS or HLS with SHA-256 under security.PolicyNone) is not protected by
// anything. Such an association serves the address alone that it was opened from, and on a line without addresses ends
// with the link: else whoever came next under the same SAP would have it without the password. Who can forge an address,
// or sits on the line, has it all the same.
//
// The association of a client that proves nothing, as the public one, serves everybody under its SAP. What goes in several
// blocks goes on for the address alone that it was begun from: who asks in between ends it, and gets nothing of it.
//
// One key, one use (law 3): with [DedicatedRequired] the global key carries the InitiateRequest, passes 3 and 4 of HLS
// and the release, the dedicated key everything else, and each is refused for the other's use. A dedicated key is
// taken from the InitiateRequest and lives in memory. All of them are sealed under with one counter of the device, which
// never starts again while the process lives, so that one that is brought a second time, after whatever others, meets no
// nonce again; and where a dedicated key is required, what was received under the last eight of a client stays refused.
// The tag outside a ciphered APDU is not authenticated, so an APDU that carries another than the tag says is
// not served and its counter is not spent: to alter the tag is to lose the APDU and no more.
//
// # Answers to what is refused
//
//	(link, SAP) not in the model     AARQ: AARE rejected-permanent, no reason given; else exception service-not-allowed
//	another server SAP, a broadcast  silence
//	no association                   exception service-not-allowed, operation-not-possible (D8 01 01)
//	half-open, not reply_to_HLS      the same
//	less protection than the policy,
//	another suite, form or key       the same
//	tag does not verify              exception deciphering-error (D8 01 05); an AARQ: AARE rejected-permanent,
//	                                 authentication-failure; silence above the rate
//	counter below the floor          exception invocation-counter-error and the counter expected (D8 01 06); silence
//	                                 above the rate
//	service not known or negotiated  exception service-unknown, service-not-supported (D8 02 02)
//	a block that cannot be placed    exception service-not-allowed, other-reason (D8 01 03)
//	APDU that does not parse         exception service-not-allowed, other-reason (D8 01 03); an AARQ: AARE
//	                                 rejected-permanent, no reason given
//	longer than the server's PDU, or
//	put together from too many blocks exception service-not-allowed, pdu-too-long (D8 01 04)
//	a wrong password                 AARE rejected-permanent, authentication-failure; above the rate none is looked at
//	                                 and the AARE is rejected-transient, no reason given
//	RLRQ without protection on a
//	ciphered association             RLRE not-finished: the association stays
//
// The rate is a burst of 16 and one more every 5 s, per (link, SAP). It bounds answers and events and never attempts,
// but for passwords, which can be guessed: an honest APDU is served however many others did not verify. An exception-response is never protected, so it shows
// nothing but itself.
package server
