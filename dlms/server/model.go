package server

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
)

// ErrModel is returned by [NewModel] for a model that cannot be served safely.
var ErrModel = errors.New("server: model")

// Mechanism is how a client proves who it is (GB 9.4.2.2.3).
type Mechanism uint8

// Mechanisms of this server. LLS and HLS with SHA-256 are for foreign clients, with ciphering or, under
// security.PolicyNone, without: then nothing that follows is protected, whoever has opened the association, and what
// ties it to him is his address alone (see the package comment).
const (
	// MechanismNone is the lowest level: no authentication, no ciphering.
	MechanismNone Mechanism = 0
	// MechanismLLS is a password in the AARQ, in clear. The device is a [SecretHolder].
	MechanismLLS Mechanism = 1
	// MechanismGMAC is HLS with GMAC, in the application context with ciphering.
	MechanismGMAC Mechanism = 5
	// MechanismSHA256 is HLS with SHA-256 over a secret, both titles and both challenges. The device is a
	// [SecretHolder].
	MechanismSHA256 Mechanism = 6
)

// Traffic says under which keys an association carries its services once it is open.
type Traffic uint8

// Forms of traffic.
const (
	// DedicatedRequired takes services under the dedicated key alone; passes 3 and 4 of HLS and the release under
	// the global key alone (law 3). The client has to bring a dedicated key.
	DedicatedRequired Traffic = iota
	// DedicatedOrGlobal takes either, and answers in the form of the request.
	DedicatedOrGlobal
)

// Default bounds of a [Client].
const (
	DefaultMaxPDU   = 1024
	DefaultMaxAge   = 24 * time.Hour
	DefaultMaxAPDUs = 1 << 16
	minPDU          = 64

	defaultConformance = apdu.ConformanceGet | apdu.ConformanceSet | apdu.ConformanceAction |
		apdu.ConformanceSelectiveAccess | apdu.ConformanceMultipleReferences |
		apdu.ConformanceBlockTransferGet | apdu.ConformanceBlockTransferSet | apdu.ConformanceBlockTransferAction
)

// Client is one client of the device, as data: where it may come from, how it proves itself, what it may reach.
type Client struct {
	// Name is a short name for events and logs.
	Name string
	// SAP is the client's service access point.
	SAP dlms.SAP
	// Links names the links on which the client is served.
	Links []string
	// Mechanism is how it proves itself.
	Mechanism Mechanism
	// Setup is the security setup whose long-term key opens its associations. Unused without ciphering.
	Setup dlms.OBIS
	// PerPeer asks the device for a key of the one who calls, by his system title and the implementation information of
	// his AARQ, instead of one key for all. The device is a [PeerKeys].
	PerPeer bool
	// Policy is the least protection of its requests. A client with MechanismGMAC needs at least
	// PolicyAuthenticated. PolicyNone is the application context without ciphering. There is no policy that takes
	// requests which are encrypted and not authenticated.
	Policy security.Policy
	// Traffic says which keys carry services.
	Traffic Traffic
	// GeneralForms also takes general-glo-ciphering and general-ded-ciphering, and answers in kind.
	GeneralForms bool
	// GeneralCiphering also takes general-ciphering under the global unicast key, and answers in kind. It wants
	// DedicatedOrGlobal.
	GeneralCiphering bool
	// SharedHLSCounter tolerates a peer that uses one counter value inside f(challenge) and for the APDU around it,
	// a repeated nonce of its own. Leave it false but for foreign clients.
	SharedHLSCounter bool
	// Broadcast makes the dedicated key of the association a broadcast key: it opens unconfirmed services to
	// dlms.SAPAllStations and nothing else, and nothing is ever sealed under it.
	Broadcast bool
	// GlobalBroadcast also takes unconfirmed services to dlms.SAPAllStations under the global broadcast key (key set
	// 1, security control 0x70), in the name of the peer of the open association. The device is a [BroadcastHolder].
	// Everybody who holds that key can make such a service: it never switches the supply, changes keys, or puts an image
	// or a calendar in force, whatever the rights.
	GlobalBroadcast bool
	// Conformance is what the server offers this client; 0 means get, set, action, selective access, block transfer
	// and multiple references, and general protection where a general form is taken. With
	// apdu.ConformanceGeneralBlockTransfer in it, and proposed by the client, answers that are too long go in general
	// block transfer, and requests may come in it.
	Conformance apdu.Conformance
	// MaxPDU is the largest APDU that the server takes, in bytes; 0 means DefaultMaxPDU. No answer is longer either. A
	// ciphered APDU may be longer by what protection adds: some clients leave that out when they cut blocks.
	MaxPDU uint16
	// MaxAge and MaxAPDUs end an association; 0 means DefaultMaxAge and DefaultMaxAPDUs. They cannot be raised.
	MaxAge   time.Duration
	MaxAPDUs uint32
	// Rights is what the client may reach. What is not in it is denied.
	Rights []Right
}

// Right is what a client may do with one object.
type Right struct {
	// Class and Instance name the object.
	Class    dlms.ClassID
	Instance dlms.OBIS
	// Read and Write are attribute numbers, Invoke method numbers.
	Read, Write, Invoke []int8
}

// ModelConfig describes a kind of device.
type ModelConfig struct {
	// Server is the SAP of the logical device; 0 means 1, the management logical device.
	Server dlms.SAP
	// Objects are all objects of the device; each client reaches those in its rights.
	Objects []cosem.Object
	// Clients are those who may associate.
	Clients []Client
}

// Model is a kind of device: its objects, its clients and their rights. It is immutable and shared by all devices
// of the kind.
type Model struct {
	server    dlms.SAP
	objects   map[objectKey]cosem.Object
	endpoints []endpoint
	clients   []*client
}

type objectKey struct {
	class    dlms.ClassID
	instance dlms.OBIS
}

// client is a Client with its rights compiled.
type client struct {
	Client
	rights map[objectKey]*rights
	list   dlms.Data
}

// endpoint is where a client may come from. Its index is the index of its slot in every server.
type endpoint struct {
	link   string
	client *client
}

type rights struct {
	object              cosem.Object
	read, write, invoke []int8
}

// NewModel checks and compiles cfg. It refuses rights that would show a key or a password (law 2), whatever the
// object would answer.
func NewModel(cfg ModelConfig) (*Model, error) {
	m := &Model{server: cfg.Server, objects: make(map[objectKey]cosem.Object, len(cfg.Objects))}
	if m.server == 0 {
		m.server = dlms.SAPManagement
	}
	for _, o := range cfg.Objects {
		k := objectKey{o.ID().Class, o.ID().Instance}
		if m.objects[k] != nil {
			return nil, fmt.Errorf("%w: object %s twice", ErrModel, o.ID())
		}
		m.objects[k] = o
	}
	for _, c := range cfg.Clients {
		if err := m.add(c, cfg.Objects); err != nil {
			return nil, fmt.Errorf("%w: client %q: %w", ErrModel, c.Name, err)
		}
	}
	return m, nil
}

func (m *Model) add(c Client, order []cosem.Object) error {
	if err := c.complete(); err != nil {
		return err
	}
	compiled := &client{Client: c, rights: make(map[objectKey]*rights, len(c.Rights))}
	for _, r := range c.Rights {
		if err := compiled.grant(r, m.objects); err != nil {
			return err
		}
	}
	compiled.list = cosem.ObjectList(compiled.visible(order))
	m.clients = append(m.clients, compiled)
	for _, link := range c.Links {
		if m.endpoint(link, c.SAP) >= 0 {
			return fmt.Errorf("sap %s on link %q is taken", c.SAP, link)
		}
		m.endpoints = append(m.endpoints, endpoint{link, compiled})
	}
	return nil
}

// complete fills in defaults and refuses combinations that make no safe client.
func (c *Client) complete() error {
	if c.Conformance == 0 {
		c.Conformance = defaultConformance
		if c.GeneralForms || c.GeneralCiphering {
			c.Conformance |= apdu.ConformanceGeneralProtection
		}
	}
	if c.MaxPDU == 0 {
		c.MaxPDU = DefaultMaxPDU
	}
	if c.MaxAge <= 0 || c.MaxAge > DefaultMaxAge {
		c.MaxAge = DefaultMaxAge
	}
	if c.MaxAPDUs == 0 || c.MaxAPDUs > DefaultMaxAPDUs {
		c.MaxAPDUs = DefaultMaxAPDUs
	}
	switch {
	case len(c.Links) == 0:
		return errors.New("want at least one link")
	case c.MaxPDU < minPDU:
		return fmt.Errorf("max pdu: want at least %d bytes, got %d", minPDU, c.MaxPDU)
	case c.SAP == dlms.SAPNone || c.SAP == dlms.SAPAllStations:
		return fmt.Errorf("sap %s names no client", c.SAP)
	}
	return c.checkSecurity()
}

// checkSecurity refuses combinations of mechanism, policy and keys that make no sense or no safe client.
func (c *Client) checkSecurity() error {
	switch c.Mechanism {
	case MechanismNone, MechanismLLS, MechanismGMAC, MechanismSHA256:
	default:
		return fmt.Errorf("mechanism: want %d, %d, %d or %d, got %d",
			MechanismNone, MechanismLLS, MechanismGMAC, MechanismSHA256, c.Mechanism)
	}
	switch {
	case c.Policy > security.PolicyAuthenticatedEncrypted:
		return fmt.Errorf("unknown %s", c.Policy)
	case c.Mechanism == MechanismNone && (c.Policy != security.PolicyNone || c.Broadcast):
		return errors.New("a policy or a broadcast key without authentication")
	case c.Mechanism == MechanismGMAC && c.Policy == security.PolicyNone:
		return fmt.Errorf("policy %s is too little for hls-gmac", c.Policy)
	case c.Broadcast && (c.Mechanism != MechanismGMAC || c.Traffic != DedicatedRequired || c.GlobalBroadcast):
		return errors.New("a broadcast client has to use its dedicated key alone, and hls-gmac")
	case c.PerPeer && !c.ciphered():
		return errors.New("a key per peer without ciphering")
	case !c.ciphered() && (c.GlobalBroadcast || c.GeneralCiphering):
		return errors.New("a global broadcast key or general-ciphering without ciphering")
	case c.GeneralCiphering && c.Traffic != DedicatedOrGlobal:
		return errors.New("general-ciphering carries services under the global key")
	}
	return nil
}

// ciphered reports whether the client uses the application context with ciphering.
func (c *Client) ciphered() bool { return c.Policy != security.PolicyNone }

// hls reports whether the association is authenticated in four passes.
func (c *Client) hls() bool { return c.Mechanism == MechanismGMAC || c.Mechanism == MechanismSHA256 }

func (c *client) grant(r Right, objects map[objectKey]cosem.Object) error {
	k := objectKey{r.Class, r.Instance}
	if objects[k] == nil {
		return fmt.Errorf("right on %d/%s: no such object", r.Class, r.Instance)
	}
	if c.rights[k] != nil {
		return fmt.Errorf("right on %d/%s twice", r.Class, r.Instance)
	}
	for _, a := range slices.Concat(r.Read, r.Write) {
		if secret(r.Class, a) {
			return fmt.Errorf("right on %d/%s attribute %d: nobody reads or writes a secret", r.Class, r.Instance, a)
		}
	}
	c.rights[k] = &rights{
		object: objects[k], read: slices.Clone(r.Read), write: slices.Clone(r.Write), invoke: slices.Clone(r.Invoke),
	}
	return nil
}

// Classes whose attributes hold secrets (BB 4.4.3, 4.4.4, 4.7.1).
const (
	classAssociationSN   dlms.ClassID = 12
	classIECLocalPort    dlms.ClassID = 19
	lastHDLCAttribute                 = 9
	firstLocalPortSecret              = 7
)

// secret reports whether an attribute holds a password or a key by the standard: the secret of the association
// classes, the passwords of the local port, and what class 23 does not define in the versions known here.
func secret(class dlms.ClassID, attribute int8) bool {
	switch class {
	case dlms.ClassAssociationLN:
		return attribute == cosem.AttributeSecret
	case classAssociationSN:
		return attribute > 3
	case classIECLocalPort:
		return attribute >= firstLocalPortSecret
	case dlms.ClassIECHDLCSetup:
		return attribute > lastHDLCAttribute
	}
	return false
}

// visible lists what the client may reach, in the order of the objects.
func (c *client) visible(order []cosem.Object) []cosem.Visible {
	var list []cosem.Visible
	for _, o := range order {
		r := c.rights[objectKey{o.ID().Class, o.ID().Instance}]
		if r == nil {
			continue
		}
		list = append(list, cosem.Visible{ID: o.ID(), Attributes: r.attributes(o), Methods: r.invoke})
	}
	return list
}

func (r *rights) attributes(o cosem.Object) []cosem.AttributeAccess {
	all := slices.Concat(r.read, r.write)
	slices.Sort(all)
	var list []cosem.AttributeAccess
	for _, a := range slices.Compact(all) {
		access := cosem.AttributeAccess{Attribute: a}
		if slices.Contains(r.read, a) {
			access.Mode |= cosem.ReadOnly
		}
		if slices.Contains(r.write, a) {
			access.Mode |= cosem.WriteOnly
		}
		if s, ok := o.(cosem.Selective); ok && slices.Contains(r.read, a) {
			access.Selectors = s.Selectors(a)
		}
		list = append(list, access)
	}
	return list
}

// endpoint returns the index of (link, sap), or -1.
func (m *Model) endpoint(link string, sap dlms.SAP) int {
	for i := range m.endpoints {
		if m.endpoints[i].client.SAP == sap && m.endpoints[i].link == link {
			return i
		}
	}
	return -1
}
