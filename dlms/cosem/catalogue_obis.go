package cosem

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
)

// ObjectName says in words what an OBIS code stands for (IEC 62056-6-1), for example "active energy import, total",
// and "" where the catalogue does not know.
func ObjectName(o dlms.OBIS) string {
	switch a := o[0]; a {
	case 0:
		return numbered(o, abstractName(o))
	case 1:
		return electricityName(o)
	default:
		return media[a]
	}
}

// media are the kinds of measured medium but electricity, value group A (IEC 62056-6-1).
var media = map[byte]string{
	4: "heat cost allocator", 5: "cooling meter", 6: "heat meter", 7: "gas meter", 8: "cold water meter",
	9: "hot water meter", 15: "other medium",
}

// numbered adds the channel where there is more than one of an object.
func numbered(o dlms.OBIS, name string) string {
	if name == "" || o[1] == 0 {
		return name
	}
	return fmt.Sprintf("%s, channel %d", name, o[1])
}

// abstractName serves codes with A = 0. The most exact entry of the table counts.
func abstractName(o dlms.OBIS) string {
	c, d, e := int(o[2]), int(o[3]), int(o[4])
	for _, k := range [...][3]int{{c, d, e}, {c, d, anything}, {c, anything, anything}} {
		s, ok := abstractObjects[k]
		if !ok {
			continue
		}
		if k[2] == anything && e != 0 {
			return s + " " + strconv.Itoa(e)
		}
		return s
	}
	if c >= 128 {
		return "manufacturer specific"
	}
	return ""
}

// anything stands in the tables for all values of a group.
const anything = -1

var abstractObjects = map[[3]int]string{
	{0, 1, 0}: "billing period counter", {0, 1, 1}: "number of billing periods available",
	{0, 1, 2}: "time of the last billing period", {0, 2, 0}: "active firmware identifier",
	{0, 2, 1}: "active firmware version", {0, 2, 8}: "active firmware signature", {0, 9, 1}: "local time",
	{0, 9, 2}:        "local date",
	{1, 0, anything}: "clock", {1, 1, anything}: "UNIX clock", {1, 2, anything}: "microsecond clock",
	{1, 3, anything}: "minute counter since installation",
	{2, 0, anything}: "modem configuration", {2, 1, anything}: "auto connect", {2, 2, anything}: "auto answer",
	{10, 0, 0}: "global meter reset script", {10, 0, 1}: "end of billing period script",
	{10, 0, 100}: "tariff script", {10, 0, 101}: "activate test mode script",
	{10, 0, 102}: "activate normal mode script", {10, 0, 103}: "set output signals script",
	{10, 0, 104}: "optical test output script", {10, 0, 105}: "power quality script",
	{10, 0, 106}: "disconnect script", {10, 0, 107}: "image activation script", {10, 0, 108}: "push script",
	{10, 0, 109}: "load profile control script", {10, 0, 110}: "M-Bus profile control script",
	{10, 0, 111}: "function control script", {10, 0, 125}: "broadcast script", {10, 0, anything}: "script table",
	{11, 0, anything}: "special days", {12, 0, anything}: "schedule", {13, 0, anything}: "activity calendar",
	{14, 0, anything}: "register activation",
	{15, 0, 0}:        "end of billing period schedule", {15, 0, 1}: "disconnect control schedule",
	{15, 0, 2}: "image activation schedule", {15, 0, 3}: "output control schedule", {15, 0, 4}: "push schedule",
	{15, 0, 5}: "load profile control schedule", {15, 0, 6}: "M-Bus profile control schedule",
	{15, 0, 7}: "function control schedule", {15, 0, anything}: "single action schedule",
	{16, 0, anything}: "register monitor", {16, 1, anything}: "alarm monitor", {16, 2, anything}: "parameter monitor",
	{17, 0, anything}: "limiter", {18, 0, anything}: "array manager",
	{19, 0, anything}: "payment account", {19, 10, anything}: "credit", {19, 20, anything}: "charge",
	{19, 40, anything}: "token gateway",
	{20, 0, 0}:         "IEC optical port setup", {20, 0, 1}: "IEC electrical port setup",
	{21, 0, anything}: "readout list", {22, 0, anything}: "HDLC setup", {23, 0, anything}: "twisted pair setup",
	{23, 1, anything}: "twisted pair MAC address setup",
	{24, 0, anything}: "M-Bus slave port setup", {24, 1, anything}: "M-Bus client", {24, 2, anything}: "M-Bus value",
	{24, 3, anything}: "M-Bus profile", {24, 4, anything}: "M-Bus disconnect control",
	{24, 5, anything}: "M-Bus control log", {24, 6, anything}: "M-Bus master port setup",
	{24, 8, anything}: "M-Bus server port setup", {24, 9, anything}: "M-Bus diagnostic",
	{25, 0, anything}: "TCP-UDP setup", {25, 1, anything}: "IPv4 setup", {25, 2, anything}: "MAC address",
	{25, 3, anything}: "PPP setup", {25, 4, anything}: "GPRS modem setup", {25, 5, anything}: "SMTP setup",
	{25, 6, anything}: "GSM diagnostic", {25, 7, anything}: "IPv6 setup", {25, 8, anything}: "FTP setup",
	{25, 9, anything}: "push setup", {25, 10, anything}: "NTP setup", {25, 11, anything}: "LTE monitoring",
	{26, anything, anything}: "S-FSK power line", {27, anything, anything}: "ISO/IEC 8802-2 LLC",
	{28, anything, anything}: "PRIME power line", {29, anything, anything}: "G3-PLC power line",
	{30, anything, anything}: "ZigBee", {31, anything, anything}: "wireless mode Q",
	{34, anything, anything}: "Wi-SUN", {35, anything, anything}: "LoRaWAN",
	{40, 0, 0}: "current association", {40, 0, anything}: "association", {41, 0, anything}: "SAP assignment",
	{42, 0, anything}: "logical device name", {43, 0, anything}: "security setup",
	{43, 1, anything}: "invocation counter", {43, 2, anything}: "data protection",
	{44, 0, anything}: "image transfer", {44, 1, anything}: "function control",
	{44, 2, anything}: "communication port protection", {65, anything, anything}: "utility table",
	{66, 0, anything}: "compact data", {67, 0, anything}: "sensor manager",
	{94, anything, anything}: "country specific",
	{96, 1, anything}:        "device identifier", {96, 1, 9}: "metering point identifier",
	{96, 2, 0}: "number of configuration changes", {96, 2, 1}: "time of the last configuration change",
	{96, 2, anything}: "configuration change record", {96, 3, 0}: "input and output states",
	{96, 3, 1}: "input states", {96, 3, 2}: "output states", {96, 3, 10}: "disconnect control",
	{96, 3, anything}: "input and output control", {96, 3, 20}: "arbitrator",
	{96, 4, anything}: "internal control signals", {96, 5, anything}: "internal operating status",
	{96, 6, 0}: "battery use time", {96, 6, 1}: "battery charge", {96, 6, 2}: "next battery change",
	{96, 6, 3}: "battery voltage", {96, 6, 4}: "initial battery capacity", {96, 6, 5}: "battery installation time",
	{96, 6, 6}: "estimated remaining battery time", {96, 6, anything}: "battery",
	{96, 7, 0}: "power failures in all three phases", {96, 7, 1}: "power failures in phase L1",
	{96, 7, 2}: "power failures in phase L2", {96, 7, 3}: "power failures in phase L3",
	{96, 7, 9}: "long power failures in any phase", {96, 7, 19}: "duration of the last long power failure",
	{96, 7, 21}: "power failures in any phase", {96, 7, anything}: "power failure record",
	{96, 8, anything}: "operating time", {96, 9, anything}: "ambient temperature",
	{96, 10, anything}: "status register", {96, 11, anything}: "event code",
	{96, 12, 1}: "number of connections", {96, 12, 5}: "field strength", {96, 12, 6}: "telephone number",
	{96, 12, anything}: "communication record", {96, 13, 0}: "consumer message, code",
	{96, 13, 1}: "consumer message, text", {96, 13, anything}: "consumer message",
	{96, 14, anything}: "active tariff", {96, 15, anything}: "event counter",
	{96, 16, anything}: "profile entry counter", {96, 20, anything}: "tamper record",
	{97, 97, anything}: "error register", {97, 98, 0}: "alarm register", {97, 98, 10}: "alarm filter",
	{97, 98, 20}: "alarm descriptor", {97, 98, anything}: "alarm register",
	{98, 1, anything}: "billing data", {98, 2, anything}: "billing data, second scheme",
	{98, 10, anything}: "register table", {99, 1, anything}: "load profile",
	{99, 2, anything}: "load profile, second period", {99, 98, anything}: "event log",
	{99, 12, anything}: "connection log", {99, 13, anything}: "GSM diagnostic log",
	{99, 14, anything}: "charge log",
}
