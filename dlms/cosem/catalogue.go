package cosem

import (
	"strconv"

	"github.com/meterseal/meterseal/dlms"
)

// ClassName returns what an interface class is called, "Profile generic", and "class 9999" for one that the
// catalogue does not have (BB 4).
func ClassName(class dlms.ClassID) string {
	if s, ok := classNames[class]; ok {
		return s
	}
	return "class " + strconv.Itoa(int(class))
}

// AttributeName returns what an attribute is called in words, "capture objects", and "attribute 12" for one that the
// catalogue does not have. Attribute 1 is the logical name in every class.
func AttributeName(class dlms.ClassID, attribute int8) string {
	if attribute == 1 {
		return "logical name"
	}
	if s := nth(members[class].attributes, int(attribute)-2); s != "" {
		return s
	}
	return "attribute " + strconv.Itoa(int(attribute))
}

// MethodName returns what a method is called in words, "reset", and "method 12" for one that the catalogue does not
// have.
func MethodName(class dlms.ClassID, method int8) string {
	if s := nth(members[class].methods, int(method)-1); s != "" {
		return s
	}
	return "method " + strconv.Itoa(int(method))
}

// Attributes returns how many attributes a class has, the logical name included, and 0 for a class that the
// catalogue does not have. A meter's version of the class may have fewer.
func Attributes(class dlms.ClassID) int8 {
	m, ok := members[class]
	if !ok {
		return 0
	}
	return int8(len(m.attributes) + 1)
}

// Describe says in words what an object is: its class, and what its OBIS code stands for (IEC 62056-6-1), for
// example "Register: active energy import, total".
func Describe(class dlms.ClassID, o dlms.OBIS) string {
	name := ObjectName(o)
	if name == "" {
		return ClassName(class)
	}
	return ClassName(class) + ": " + name
}

func nth(list []string, i int) string {
	if i < 0 || i >= len(list) {
		return ""
	}
	return list[i]
}

var classNames = map[dlms.ClassID]string{
	1: "Data", 3: "Register", 4: "Extended register", 5: "Demand register", 6: "Register activation",
	7: "Profile generic", 8: "Clock", 9: "Script table", 10: "Schedule", 11: "Special days table",
	12: "Association SN", 15: "Association LN", 17: "SAP assignment", 18: "Image transfer",
	19: "IEC local port setup", 20: "Activity calendar", 21: "Register monitor", 22: "Single action schedule",
	23: "IEC HDLC setup", 24: "IEC twisted pair setup", 25: "M-Bus slave port setup", 26: "Utility tables",
	27: "Modem configuration", 28: "Auto answer", 29: "Auto connect", 30: "COSEM data protection", 40: "Push setup",
	41: "TCP-UDP setup", 42: "IPv4 setup", 43: "MAC address setup", 44: "PPP setup", 45: "GPRS modem setup",
	46: "SMTP setup", 47: "GSM diagnostic", 48: "IPv6 setup", 50: "S-FSK Phy&MAC setup",
	51: "S-FSK active initiator", 52: "S-FSK MAC synchronization timeouts", 53: "S-FSK MAC counters",
	55: "IEC 61334-4-32 LLC setup", 56: "S-FSK reporting system list", 57: "ISO/IEC 8802-2 LLC type 1 setup",
	58: "ISO/IEC 8802-2 LLC type 2 setup", 59: "ISO/IEC 8802-2 LLC type 3 setup", 61: "Register table",
	62: "Compact data", 63: "Status mapping", 64: "Security setup", 65: "Parameter monitor", 67: "Sensor manager",
	68: "Arbitrator", 70: "Disconnect control", 71: "Limiter", 72: "M-Bus client", 73: "Wireless mode Q channel",
	74: "M-Bus master port setup", 76: "DLMS/COSEM server M-Bus port setup", 77: "M-Bus diagnostic",
	80: "IEC 61334-4-32 LLC SSCS setup", 81: "PRIME physical layer counters", 82: "PRIME MAC setup",
	83: "PRIME MAC functional parameters", 84: "PRIME MAC counters", 85: "PRIME MAC network administration data",
	86: "PRIME application identification", 90: "G3-PLC MAC layer counters", 91: "G3-PLC MAC setup",
	92: "G3-PLC 6LoWPAN adaptation layer setup", 95: "Wi-SUN setup", 96: "Wi-SUN diagnostic", 97: "RPL diagnostic",
	98: "MPL diagnostic", 100: "NTP setup", 101: "ZigBee SAS startup", 102: "ZigBee SAS join",
	103: "ZigBee SAS APS fragmentation", 104: "ZigBee network control", 105: "ZigBee tunnel setup", 111: "Account",
	112: "Credit", 113: "Charge", 115: "Token gateway", 116: "IEC 62055-41 attributes", 122: "Function control",
	123: "Array manager", 124: "Communication port protection", 126: "SCHC-LPWAN setup",
	127: "SCHC-LPWAN diagnostic", 128: "LoRaWAN setup", 129: "LoRaWAN diagnostic", 151: "LTE monitoring",
}

// member is the attributes of a class from number 2, and its methods from number 1.
type member struct{ attributes, methods []string }

var members = map[dlms.ClassID]member{
	dlms.ClassData:             {[]string{"value"}, nil},
	dlms.ClassRegister:         {[]string{"value", "scaler and unit"}, []string{"reset"}},
	dlms.ClassExtendedRegister: {[]string{"value", "scaler and unit", "status", "capture time"}, []string{"reset"}},
	dlms.ClassDemandRegister: {[]string{
		"current average value", "last average value", "scaler and unit", "status", "capture time",
		"start time of the current average", "period", "number of periods",
	}, []string{"reset", "next period"}},
	6: {
		[]string{"register assignment", "mask list", "active mask"},
		[]string{"add register", "add mask", "delete mask"},
	},
	dlms.ClassProfileGeneric: {[]string{
		"buffer", "capture objects", "capture period", "sort method", "sort object", "entries in use",
		"profile entries",
	}, []string{"reset", "capture"}},
	dlms.ClassClock: {[]string{
		"time", "time zone", "status", "daylight saving begin", "daylight saving end",
		"daylight saving deviation", "daylight saving enabled", "clock base",
	}, []string{
		"adjust to quarter", "adjust to measuring period", "adjust to minute", "adjust to preset time",
		"preset adjusting time", "shift time",
	}},
	9:  {[]string{"scripts"}, []string{"execute"}},
	10: {[]string{"entries"}, []string{"enable or disable", "insert", "delete"}},
	11: {[]string{"entries"}, []string{"insert", "delete"}},
	dlms.ClassAssociationLN: {[]string{
		"object list", "associated partners", "application context name", "xDLMS context info",
		"authentication mechanism name", "secret", "association status", "security setup reference", "user list",
		"current user",
	}, []string{
		"reply to HLS authentication", "change HLS secret", "add object", "remove object", "add user", "remove user",
	}},
	dlms.ClassSAPAssignment: {[]string{"SAP assignment list"}, []string{"connect logical device"}},
	dlms.ClassImageTransfer: {[]string{
		"image block size", "transferred blocks", "first block not transferred", "transfer enabled",
		"transfer status", "images to activate",
	}, []string{"initiate image transfer", "transfer image block", "verify image", "activate image"}},
	19: {[]string{
		"default mode", "default baud rate", "proposed baud rate", "response time", "device address", "password 1",
		"password 2", "password 5",
	}, nil},
	dlms.ClassActivityCalendar: {[]string{
		"active calendar name", "active seasons", "active weeks", "active days", "passive calendar name",
		"passive seasons", "passive weeks", "passive days", "time of activation of the passive calendar",
	}, []string{"activate passive calendar"}},
	21: {[]string{"thresholds", "monitored value", "actions"}, nil},
	22: {[]string{"executed script", "type", "execution time"}, nil},
	dlms.ClassIECHDLCSetup: {[]string{
		"communication speed", "transmit window", "receive window", "transmit information field length",
		"receive information field length", "inter-octet time-out", "inactivity time-out", "device address",
	}, nil},
	27: {[]string{"communication speed", "initialization strings", "modem profile"}, nil},
	28: {[]string{"mode", "listening windows", "status", "number of calls", "number of rings"}, nil},
	29: {[]string{"mode", "repetitions", "repetition delay", "calling windows", "destinations"}, []string{"connect"}},
	dlms.ClassPushSetup: {[]string{
		"push objects", "destination and method", "communication windows", "randomisation start interval",
		"number of retries", "repetition delay", "port reference", "push client SAP", "push protection parameters",
		"push operation method", "confirmation parameters", "last confirmation time",
	}, []string{"push", "reset"}},
	dlms.ClassTCPUDPSetup: {[]string{
		"TCP-UDP port", "IP reference", "maximum segment size", "simultaneous connections", "inactivity time-out",
	}, nil},
	42: {[]string{
		"data link layer reference", "IP address", "multicast addresses", "IP options", "subnet mask",
		"gateway address", "use DHCP", "primary DNS address", "secondary DNS address",
	}, []string{"add multicast address", "delete multicast address", "get number of multicast addresses"}},
	43: {[]string{"MAC address"}, nil},
	45: {[]string{"APN", "PIN", "quality of service"}, nil},
	47: {[]string{
		"operator", "status", "circuit-switched attachment", "packet-switched status", "cell", "adjacent cells",
		"capture time",
	}, nil},
	61: {[]string{"table cell values", "table cell definition", "scaler and unit"}, []string{"reset", "capture"}},
	62: {[]string{
		"compact buffer", "capture objects", "template id", "template description", "capture method",
	}, []string{"reset", "capture"}},
	63: {[]string{"status word", "mapping table"}, nil},
	dlms.ClassSecuritySetup: {
		[]string{"security policy", "security suite", "client system title", "server system title", "certificates"},
		[]string{
			"activate security", "transfer key", "agree on key", "generate key pair",
			"generate certificate request", "import certificate", "export certificate", "remove certificate",
		},
	},
	dlms.ClassDisconnectControl: {
		[]string{"output state", "control state", "control mode"}, []string{"remote disconnect", "remote reconnect"},
	},
	dlms.ClassLimiter: {[]string{
		"monitored value", "active threshold", "normal threshold", "emergency threshold",
		"minimum duration over threshold", "minimum duration under threshold", "emergency profile",
		"emergency profile groups", "emergency profile active", "actions",
	}, nil},
	72: {[]string{
		"M-Bus port reference", "capture definition", "capture period", "primary address", "identification number",
		"manufacturer", "version", "device type", "access number", "status", "alarm", "configuration",
		"encryption key status",
	}, []string{
		"install slave", "uninstall slave", "capture", "reset alarm", "synchronize clock", "send data",
		"set encryption key", "transfer key",
	}},
}
