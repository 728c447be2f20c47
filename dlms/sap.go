package dlms

import "strconv"

// SAP is a service access point: the wPort of the COSEM wrapper, the upper HDLC address, the LLC address on
// S-FSK (GB, IEC 62056-47 and 62056-46). Whatever the link, it names one client or one logical device.
type SAP uint16

// Service access points that the standard fixes (GB 10.2, reserved wPorts and addresses).
const (
	// SAPNone is the no-station address.
	SAPNone SAP = 0x0000
	// SAPManagement is the client management process, and on the server side the management logical device.
	SAPManagement SAP = 0x0001
	// SAPPublic is the public client, which every meter serves without security.
	SAPPublic SAP = 0x0010
	// SAPAllStations addresses every station (wrapper and HDLC one-byte addresses).
	SAPAllStations SAP = 0x007F
)

// String returns the decimal value, as configuration files write it.
func (s SAP) String() string { return strconv.Itoa(int(s)) }
