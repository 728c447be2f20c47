// Package concentrator is the role between the central system (IS) and the meters of one local network.
//
// It finds its meters, opens the read/write and the broadcast association with each under CC_LAN, reads load curves
// into a spool that it delivers, corrects clocks by broadcast, and carries out orders. Everything else it forwards as
// it is: a relay envelope holds an APDU of somebody else's association, which it could not open.
//
// It is not trusted (law 7). It holds CC_LAN of its own meters, sealed to it, and the sessions that it opened itself,
// in memory; never CCC, CC_LOCALE or CC_IS. What it finds without authentication is a hint; the association proves
// which meter it is.
package concentrator
