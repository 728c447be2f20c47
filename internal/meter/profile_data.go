package meter

import (
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
)

// Value groups E of the security setups and of what belongs to them. Which is which is ours (docs/divergences.md).
const (
	setupGeneric byte = iota
	setupLAN
	setupLocal
	setupIS
)

// maxPDU is the PDU size that the head-end of a published meter proposes (domain facts, section 1).
const maxPDU = 512

func data(s Shows, instance dlms.OBIS) Object { return Object{s, dlms.ClassData, instance} }

func clockObject() Object {
	return Object{ShowsClock, dlms.ClassClock, dlms.OBIS{0, 0, 1, 0, 0, 255}}
}

func nameObject() Object { return data(ShowsName, dlms.OBIS{0, 0, 42, 0, 0, 255}) }

func firmwareObject() Object { return data(ShowsFirmware, dlms.OBIS{1, 0, 0, 2, 0, 255}) }

// importObject is A+, on channel b.
func importObject(b byte) Object {
	return Object{ShowsImport, dlms.ClassRegister, dlms.OBIS{1, b, 1, 8, 0, 255}}
}

func exportObject(b byte) Object {
	return Object{ShowsExport, dlms.ClassRegister, dlms.OBIS{1, b, 2, 8, 0, 255}}
}

func curveObject(b byte) Object {
	return Object{ShowsCurve, dlms.ClassProfileGeneric, dlms.OBIS{1, b, 99, 1, 0, 255}}
}

func breakerObject() Object {
	return Object{ShowsBreaker, dlms.ClassDisconnectControl, dlms.OBIS{0, 0, 96, 3, 10, 255}}
}

func logObject(n logNumber) Object {
	return Object{ShowsLog, dlms.ClassProfileGeneric, dlms.OBIS{0, 0, 99, 98, byte(n), 255}}
}

func associationObject() Object {
	return Object{ShowsAssociation, dlms.ClassAssociationLN, cosem.CurrentAssociation()}
}

func setupObject(e byte) Object {
	return Object{ShowsSetup, dlms.ClassSecuritySetup, dlms.OBIS{0, 0, 43, 0, e, 255}}
}

func floorObject(e byte) Object { return data(ShowsFloor, dlms.OBIS{0, 0, 43, 1, e, 255}) }

func checkObject(e byte) Object { return data(ShowsCheckValue, dlms.OBIS{0, 128, 43, 0, e, 255}) }

func logObjects() []Object {
	var out []Object
	for n := logMain; n <= logCount; n++ {
		out = append(out, logObject(n))
	}
	return out
}

// common is what a shipped meter has besides keys.
func common() []Object {
	return append([]Object{
		clockObject(), nameObject(), firmwareObject(), importObject(1), exportObject(1), curveObject(1), breakerObject(),
		associationObject(),
	}, logObjects()...)
}

// keyed is what belongs to one security setup.
func keyed(e byte) []Object { return []Object{setupObject(e), floorObject(e), checkObject(e)} }

// public is the client without security. It sees what a client has to know before it can have any: who the meter is
// and what counters it takes.
func public(setups ...byte) Client {
	rights := reads(nameObject(), associationObject())
	for _, e := range setups {
		rights = append(rights, reads(floorObject(e))...)
	}
	const serverTitle = 5
	rights = append(rights, Right{Object: setupObject(setups[0]), Read: []int8{1, serverTitle}})
	return Client{
		Name: "public", SAP: dlms.SAPPublic, Links: []string{LinkLAN, LinkLocal}, Rights: rights,
	}
}

// Linky is the meter as published. The read/write client does all that the LAN may do.
func Linky() Profile {
	objects := slices.Concat(common(), keyed(setupLAN), keyed(setupLocal))
	lan := setupObject(setupLAN)
	readWrite := and(reads(objects...), movesClock(), operatesBreaker())
	readWrite = and(readWrite, transfersKeys(lan, setupObject(setupLocal))...)
	return Profile{
		Name: ProfileLinky, Objects: objects, MaxPDU: maxPDU,
		Clients: []Client{
			public(setupLAN, setupLocal),
			{
				Name: "readwrite", SAP: role.SAPReadWrite, Links: []string{LinkLAN}, Setup: lan.Instance,
				Policy: security.PolicyAuthenticatedEncrypted, Clock: ClockSet, Rights: readWrite,
			},
			broadcast(lan.Instance),
			terminal(objects),
		},
	}
}

// Hardened is the profile of ours: the breaker, the keys and the setting of the clock belong to the central system's
// own association, under a key that the concentrator does not have. A terminal has no key that outlasts its grant.
func Hardened() Profile {
	objects := slices.Concat(common(), keyed(setupLAN), keyed(setupLocal), keyed(setupIS))
	lan, local, is := setupObject(setupLAN), setupObject(setupLocal), setupObject(setupIS)
	central := and(reads(objects...), movesClock(), operatesBreaker())
	central = and(central, transfersKeys(lan, local, is)...)
	return Profile{
		Name: ProfileHardened, Objects: objects, MaxPDU: maxPDU,
		Clients: []Client{
			public(setupLAN, setupLocal, setupIS),
			{
				Name: "readwrite", SAP: role.SAPReadWrite, Links: []string{LinkLAN}, Setup: lan.Instance,
				Policy: security.PolicyAuthenticatedEncrypted, Clock: ClockCorrect,
				Rights: and(reads(slices.Concat(common(), keyed(setupLAN))...), movesClock()),
			},
			broadcast(lan.Instance),
			{
				Name: "is", SAP: role.SAPIS, Links: []string{LinkLAN}, Setup: is.Instance,
				Policy: security.PolicyAuthenticatedEncrypted, Clock: ClockSet, Rights: central,
			},
			derived(terminal(slices.Concat(common(), keyed(setupLocal)))),
		},
	}
}

// derived gives a client keys that end with a day.
func derived(c Client) Client {
	c.Derived = true
	return c
}

// broadcast is the client whose session key all meters of a concentrator share. It may correct the clock.
func broadcast(setup dlms.OBIS) Client {
	return Client{
		Name: "broadcast", SAP: role.SAPBroadcast, Links: []string{LinkLAN}, Setup: setup, Broadcast: true,
		Policy: security.PolicyAuthenticatedEncrypted, Clock: ClockCorrect, Rights: []Right{movesClock()},
	}
}

// terminal is the client on the local port. It reads.
func terminal(objects []Object) Client {
	return Client{
		Name: "tsp", SAP: role.SAPTSP, Links: []string{LinkLocal}, Setup: setupObject(setupLocal).Instance,
		Policy: security.PolicyAuthenticatedEncrypted, Rights: reads(objects...),
	}
}

// Generic is a plain meter for test benches and foreign clients: standard places, one management client, every form of
// ciphering.
func Generic() Profile {
	setup := setupObject(setupGeneric)
	objects := slices.Concat([]Object{
		clockObject(), nameObject(), firmwareObject(), importObject(0), exportObject(0), curveObject(0), breakerObject(),
		associationObject(),
	}, logObjects(), keyed(setupGeneric))
	management := and(reads(objects...), movesClock(), operatesBreaker())
	return Profile{
		Name: ProfileGeneric, Objects: objects, MaxPDU: 1024,
		Clients: []Client{
			public(setupGeneric),
			{
				Name: "management", SAP: dlms.SAPManagement, Links: []string{LinkLAN, LinkLocal}, Setup: setup.Instance,
				Policy: security.PolicyAuthenticated, Foreign: true, Clock: ClockSet,
				Rights: and(management, transfersKeys(setup)...),
			},
		},
	}
}
