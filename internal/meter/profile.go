package meter

import (
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// The profiles by name.
const (
	ProfileLinky    = "linky"
	ProfileHardened = "hardened"
	ProfileGeneric  = "generic"
)

// ClockRight is how far a client may move the clock. That it may do so at all is a matter of its rights on the clock
// object.
type ClockRight uint8

// Clock rights.
const (
	// ClockCorrect moves a set clock by at most 60 s in 24 h in sum, never back over a captured interval.
	ClockCorrect ClockRight = iota
	// ClockSet sets any time, also on a clock that was lost.
	ClockSet
)

// Object is one object of a profile: what it shows, and where it stands.
type Object struct {
	Shows    Shows
	Class    dlms.ClassID
	Instance dlms.OBIS
}

// Client is one client of a profile.
type Client struct {
	Name  string
	SAP   dlms.SAP
	Links []string
	// Setup is the security setup whose key opens the client's associations; the zero value is a client without
	// security.
	Setup dlms.OBIS
	// Policy is the least protection of what it sends.
	Policy security.Policy
	// Broadcast makes its session key a broadcast key.
	Broadcast bool
	// Derived gives each caller a key of his own, derived from that of the setup for his title and a last day.
	Derived bool
	// Foreign takes every form that the standard allows: global or dedicated traffic, general ciphering, one counter
	// inside and around HLS.
	Foreign bool
	Clock   ClockRight
	Rights  []Right
}

// Right is what a client may do with one object of the profile.
type Right struct {
	Object Object
	// Read, Write and Invoke are attribute and method numbers.
	Read, Write, Invoke []int8
}

// Profile is a kind of meter, as data.
type Profile struct {
	Name    string
	Objects []Object
	Clients []Client
	// MaxPDU is the longest APDU in either direction that the meter proposes, in bytes.
	MaxPDU uint16
}

// Profiles returns the profiles of meters that are shipped; the generic one is [Generic].
func Profiles() []Profile { return []Profile{Linky(), Hardened()} }

func profileOf(name string) (Profile, error) {
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("meter: profile: want %s or %s, got %q", ProfileLinky, ProfileHardened, name)
}

// client returns the client on a link.
func (p *Profile) client(link string, sap dlms.SAP) (*Client, bool) {
	for i := range p.Clients {
		c := &p.Clients[i]
		for _, l := range c.Links {
			if l == link && c.SAP == sap {
				return c, true
			}
		}
	}
	return nil, false
}

// model compiles the profile.
func (p Profile) model() (*server.Model, error) {
	cfg := server.ModelConfig{}
	for _, o := range p.Objects {
		made, err := o.make()
		if err != nil {
			return nil, err
		}
		cfg.Objects = append(cfg.Objects, made)
	}
	for _, c := range p.Clients {
		cfg.Clients = append(cfg.Clients, c.compile(p.MaxPDU))
	}
	return server.NewModel(cfg)
}

func (c Client) compile(maxPDU uint16) server.Client {
	out := server.Client{
		Name: c.Name, SAP: c.SAP, Links: c.Links, Setup: c.Setup, Policy: c.Policy, Broadcast: c.Broadcast,
		PerPeer:      c.Derived,
		GeneralForms: c.Foreign, SharedHLSCounter: c.Foreign, MaxPDU: maxPDU,
	}
	if (c.Setup != dlms.OBIS{}) {
		out.Mechanism = server.MechanismGMAC
	}
	if c.Foreign {
		out.Traffic = server.DedicatedOrGlobal
	}
	for _, r := range c.Rights {
		out.Rights = append(out.Rights, server.Right{
			Class: r.Object.Class, Instance: r.Object.Instance, Read: r.Read, Write: r.Write, Invoke: r.Invoke,
		})
	}
	return out
}

// derived reports whether the key of a setup opens nothing itself.
func (p *Profile) derived(setup dlms.OBIS) bool {
	return slices.ContainsFunc(p.Clients, func(c Client) bool { return c.Derived && c.Setup == setup })
}

// readable lists the attributes of a class that a client who may read an object may read: all that are no secret.
func readable(class dlms.ClassID) []int8 {
	switch class {
	case dlms.ClassData:
		return []int8{1, 2}
	case dlms.ClassRegister:
		return []int8{1, 2, 3}
	case dlms.ClassDisconnectControl:
		return []int8{1, 2, 3, 4}
	case dlms.ClassSecuritySetup:
		return []int8{1, 2, 3, 4, 5}
	case dlms.ClassProfileGeneric:
		return []int8{1, 2, 3, 4, 5, 6, 7, 8}
	case dlms.ClassAssociationLN: // all but 7, the secret
		return []int8{1, 2, 3, 4, 5, 6, 8, 9}
	case dlms.ClassClock:
		return []int8{1, 2, 3, 4, 5, 6, 7, 8, 9}
	}
	return []int8{1}
}

// reads gives rights to read objects.
func reads(objects ...Object) []Right {
	out := make([]Right, 0, len(objects))
	for _, o := range objects {
		out = append(out, Right{Object: o, Read: readable(o.Class)})
	}
	return out
}

// and adds rights; on an object that has some already they are joined.
func and(rights []Right, more ...Right) []Right {
next:
	for _, n := range more {
		for i := range rights {
			if rights[i].Object == n.Object {
				rights[i].Read = append(rights[i].Read, n.Read...)
				rights[i].Write = append(rights[i].Write, n.Write...)
				rights[i].Invoke = append(rights[i].Invoke, n.Invoke...)
				continue next
			}
		}
		rights = append(rights, n)
	}
	return rights
}

// movesClock is setting the time (attribute 2) and shift_time (method 6).
func movesClock() Right { return Right{Object: clockObject(), Write: []int8{2}, Invoke: []int8{6}} }

// operatesBreaker is remote_disconnect and remote_reconnect.
func operatesBreaker() Right { return Right{Object: breakerObject(), Invoke: []int8{1, 2}} }

// transfersKeys is key_transfer on security setups.
func transfersKeys(setups ...Object) []Right {
	out := make([]Right, 0, len(setups))
	for _, s := range setups {
		out = append(out, Right{Object: s, Invoke: []int8{cosem.MethodKeyTransfer}})
	}
	return out
}
