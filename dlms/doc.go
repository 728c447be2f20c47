// Package dlms is the vocabulary of DLMS/COSEM (IEC 62056): names of objects, system titles, invocation
// counters, service access points, result codes, and the A-XDR data that travels in every service.
//
// The packages below it do the work: [github.com/meterseal/meterseal/dlms/client] talks to a meter,
// [github.com/meterseal/meterseal/dlms/server] is one. This package knows nothing above it.
//
// Clauses are cited as GB (DLMS UA Green Book, IEC 62056-5-3) and BB (DLMS UA Blue Book, IEC 62056-6-1 and 6-2).
package dlms
