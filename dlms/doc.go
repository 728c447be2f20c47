// Package dlms is the vocabulary of DLMS/COSEM (IEC 62056), the protocol of electricity, gas and water meters: names
// of objects, system titles, invocation counters, service access points, result codes, and [Data], the values that
// travel in every service. The packages below it are the protocol; all of it stands on the standard library alone.
//
// # What DLMS/COSEM is, in five sentences
//
// A meter is a set of objects: each has an interface class, such as register or clock, and a logical name of six
// numbers, such as 1.0.1.8.0.255 for the energy taken from the grid (an [OBIS] code). A client opens an association
// with it, and in it reads attributes (GET), writes them (SET) and invokes methods (ACTION), each named by class,
// logical name and number: an [AttributeRef] or a [MethodRef]. A meter may also speak unasked: event and data
// notifications. Messages, called APDUs, are protected with AES-GCM under keys that belong to the meter, and numbered
// by invocation counters that must never come twice. They travel in HDLC frames on an optical port or a serial line,
// in the COSEM wrapper on TCP and UDP, or on power lines.
//
// # What is where
//
//   - [github.com/meterseal/meterseal/dlms/client]: the end that asks. Associations, services, push reception.
//   - [github.com/meterseal/meterseal/dlms/server]: the end that answers, one meter or a fleet.
//   - [github.com/meterseal/meterseal/dlms/cosem]: the interface classes, for either end, and names for people.
//   - [github.com/meterseal/meterseal/dlms/link/wrapper]: the COSEM wrapper on TCP and UDP.
//   - [github.com/meterseal/meterseal/dlms/link/hdlc]: HDLC on TCP and serial lines.
//   - [github.com/meterseal/meterseal/dlms/link/iec62056]: the opening of an optical port.
//   - [github.com/meterseal/meterseal/dlms/link/mbus]: wired M-Bus frames, which customer interfaces push.
//   - [github.com/meterseal/meterseal/dlms/key]: keys that do not print, AES key wrap, check values.
//   - [github.com/meterseal/meterseal/dlms/security]: protection, counters, policies, authentication.
//   - [github.com/meterseal/meterseal/dlms/apdu]: one type for each APDU.
//   - [github.com/meterseal/meterseal/dlms/decode]: what any bytes mean, as a tree for people.
//   - [github.com/meterseal/meterseal/dlms/dlmstest]: lines that lose and alter, a nonce oracle, vectors; for tests.
//
// client, server, hdlc and security take bytes and give bytes; nothing in them opens a connection or reads a clock
// behind the caller's back.
//
// # Read a register
//
// As the public client, which most meters serve without keys:
//
//	conn, err := wrapper.Dial(ctx, "192.0.2.7:4059", dlms.SAPPublic, dlms.SAPManagement)
//	if err != nil { ... }
//	a, err := client.Open(ctx, conn, client.Config{})
//	if err != nil { ... }
//	v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: 2})
//	if err != nil { ... }
//	energy, err := v.Int()
//	err = a.Release(ctx)
//
// With keys, the [security.LongTerm] of the association goes into the configuration; see client.Config. For a trial its
// counters may live in memory; a key that is used again after a restart wants counters on disk, see package security:
//
//	k, err := key.NewUnicast(bytes)
//	if err != nil { ... }
//	aead, err := k.AEAD()
//	if err != nil { ... }
//	held, err := security.NewMemoryLongTerm(aead, key.Authentication{})
//	if err != nil { ... }
//	a, err := client.Open(ctx, conn, client.Linky(ownTitle, meterTitle, held, rand.Reader))
//
// Typed objects spare the numbers: cosem.RegisterAt(a, name) has methods with values and units. A value in Go types is had by
// [Unmarshal], and made by [Marshal].
//
// # Serve a meter
//
// Describe the objects, the clients and their rights in a server.ModelConfig, implement server.Device with the keys
// and counters of one meter, and give the handler of the server to a link:
//
//	model, err := server.NewModel(server.ModelConfig{Objects: objects, Clients: clients})
//	if err != nil { ... }
//	meter := server.New(model, device, nil)
//	err = wrapper.Serve(ctx, listener, meter.Handler("lan"), wrapper.Options{})
//
// The example of package server is a whole meter, with a client that reads it.
//
// # Data
//
// [Data] is one value of any of the types of the standard, from null-data to compact-array, without reflection and
// mostly without allocation: what is parsed aliases its input, so copy what outlives it. Constructors are called
// after Go's types ([Uint32], [OctetString]), [Tag] after the standard's. Parsing bounds depth and memory by the bytes
// that are really there. [Data.Expand] and [CompactArray] go from and to compact arrays, [ExpandNulls] and
// [CompressNulls] from and to rows of a profile that leave out what did not change, [Data.As] converts without loss.
//
// # Errors
//
// An error says what was read, at which byte, what was wanted and what came, and matches a sentinel by errors.Is. What
// a meter refuses is a [DataAccessResult] or an [ActionResult] in the chain of the error. No error shows a key or what
// was deciphered.
//
// # Clauses
//
// Clauses are cited as GB (DLMS UA Green Book, IEC 62056-5-3) and BB (DLMS UA Blue Book, IEC 62056-6-1 and 6-2).
//
// [security.LongTerm]: https://pkg.go.dev/github.com/meterseal/meterseal/dlms/security#LongTerm
package dlms
