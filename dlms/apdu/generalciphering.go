package apdu

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// KeyInfoKind says how the key of a GeneralCiphering is found (GB 9.2.3.4.6, 9.5).
type KeyInfoKind uint8

// Kinds of key information. The choice on the wire is the kind less 1.
const (
	// KeyInfoNone: the key is known to both ends.
	KeyInfoNone KeyInfoKind = 0
	// KeyInfoIdentified: the key is one of the global keys.
	KeyInfoIdentified KeyInfoKind = 1
	// KeyInfoWrapped: the key comes along, wrapped under the master key (RFC 3394).
	KeyInfoWrapped KeyInfoKind = 2
	// KeyInfoAgreed: the key is agreed on by ECDH; suites 1 and 2.
	KeyInfoAgreed KeyInfoKind = 3
)

// String returns the name that the standard gives the choice.
func (k KeyInfoKind) String() string {
	names := [...]string{"none", "identified-key", "wrapped-key", "agreed-key"}
	if int(k) < len(names) {
		return names[k]
	}
	return "key info " + strconv.Itoa(int(k))
}

// Values of KeyInfo.KeyID: of an identified key, and of the key that wraps.
const (
	KeyIDGlobalUnicast   uint8 = 0
	KeyIDGlobalBroadcast uint8 = 1
	KeyIDMaster          uint8 = 0 // of KeyInfoWrapped
)

// KeyInfo says which key a GeneralCiphering is ciphered under (GB 9.5).
//
//	Key-Info ::= CHOICE { identified-key [0] IMPLICIT SEQUENCE { key-id ENUMERATED },
//	  wrapped-key [1] IMPLICIT SEQUENCE { kek-id ENUMERATED, key-ciphered-data OCTET STRING },
//	  agreed-key [2] IMPLICIT SEQUENCE { key-parameters OCTET STRING, key-ciphered-data OCTET STRING } }
type KeyInfo struct {
	// Kind is how the key is found; which of the other fields count follows from it.
	Kind KeyInfoKind
	// KeyID names an identified key, or the key that wraps.
	KeyID uint8
	// Parameters are those of an agreed key: one byte, the scheme.
	Parameters []byte
	// Ciphered is the wrapped key, 24 bytes in suite 0, or what the key is agreed on by.
	Ciphered []byte
}

// GeneralCiphering is general-ciphering (GB 9.2.7.2.4, 9.5): any APDU, protected end to end between an originator
// and a recipient that it names.
//
//	General-Ciphering ::= SEQUENCE {
//	  transaction-id          OCTET STRING,
//	  originator-system-title OCTET STRING,
//	  recipient-system-title  OCTET STRING,
//	  date-time               OCTET STRING,
//	  other-information       OCTET STRING,
//	  key-info                Key-Info OPTIONAL,
//	  ciphered-content        OCTET STRING }
//
// Byte fields alias the input after parsing.
type GeneralCiphering struct {
	// TransactionID tells transactions of the originator apart; an answer repeats it.
	TransactionID []byte
	// Originator and Recipient are zero where they were left out.
	Originator dlms.SystemTitle
	Recipient  dlms.SystemTitle
	// Time is sent when HasTime is set, else an empty octet string. Its fields are not checked.
	HasTime bool
	Time    dlms.DateTime
	// Other is other-information, which has no meaning here.
	Other []byte
	// Key says which key; KeyInfoNone where it was left out.
	Key KeyInfo
	// Ciphered has security control, counter and content; its tag is TagGeneralCiphering.
	Ciphered
}

// ParseGeneralCiphering parses general-ciphering. Whether the key can be had is for the caller to say.
func ParseGeneralCiphering(b []byte) (GeneralCiphering, error) {
	r := wire.NewReader(b)
	g := readGeneralCiphering(&r)
	if err := done(&r, TagGeneralCiphering); err != nil {
		return GeneralCiphering{}, err
	}
	return g, nil
}

func readGeneralCiphering(r *wire.Reader) GeneralCiphering {
	var g GeneralCiphering
	b, more := r.Peek()
	if g.Tag = Tag(b); more && g.Tag != TagGeneralCiphering {
		notCiphered(r, g.Tag)
	}
	r.Uint8()
	g.TransactionID = r.In("transaction id").OctetString()
	g.Originator = readOptionalTitle(r.In("originator"))
	g.Recipient = readOptionalTitle(r.In("recipient"))
	if t := r.In("date-time").OctetString(); len(t) > 0 {
		g.HasTime, g.Time = true, readDateTime(r, t)
	}
	g.Other = r.In("other information").OctetString()
	if r.In("key info").Optional() {
		g.Key = readKeyInfo(r)
	}
	readProtected(r, &g.Ciphered)
	return g
}

func readKeyInfo(r *wire.Reader) KeyInfo {
	choice := r.Uint8()
	k := KeyInfo{Kind: KeyInfoKind(choice) + 1}
	switch k.Kind {
	case KeyInfoIdentified:
		k.KeyID = r.In("key id").Uint8()
	case KeyInfoWrapped:
		k.KeyID = r.In("kek id").Uint8()
		k.Ciphered = r.In("key ciphered data").OctetString()
	case KeyInfoAgreed:
		k.Parameters = r.In("key parameters").OctetString()
		k.Ciphered = r.In("key ciphered data").OctetString()
	default:
		r.Fail(fmt.Errorf("%w: choice %d", ErrValue, choice))
	}
	return k
}

// append writes the usage flag and the choice.
func (k *KeyInfo) append(dst []byte) ([]byte, error) {
	if k.Kind > KeyInfoAgreed {
		return nil, fmt.Errorf("%w: %s", ErrValue, k.Kind)
	}
	if k.Kind == KeyInfoNone {
		return append(dst, 0), nil
	}
	dst = append(dst, 1, byte(k.Kind)-1)
	if k.Kind == KeyInfoAgreed {
		return wire.AppendOctetString(wire.AppendOctetString(dst, k.Parameters), k.Ciphered), nil
	}
	dst = append(dst, k.KeyID)
	if k.Kind == KeyInfoWrapped {
		dst = wire.AppendOctetString(dst, k.Ciphered)
	}
	return dst, nil
}

// AAD returns what general-ciphering adds to the additional authenticated data behind SC || AK (GB 9.2.3.4.7.3):
// transaction-id, originator-system-title, recipient-system-title, date-time and other-information, each with its
// length. It is what OpenWith of a security.Cipher takes as extra.
func (g GeneralCiphering) AAD() []byte { return g.appendAAD(nil) }

func (g *GeneralCiphering) appendAAD(dst []byte) []byte {
	dst = wire.AppendOctetString(dst, g.TransactionID)
	dst = appendOptionalTitle(dst, g.Originator)
	dst = appendOptionalTitle(dst, g.Recipient)
	if g.HasTime {
		dst = wire.AppendOctetString(dst, g.Time[:])
	} else {
		dst = append(dst, 0)
	}
	return wire.AppendOctetString(dst, g.Other)
}

// AppendHeader appends everything before the content, for a content of n bytes that the caller appends, so that it
// can be sealed in place.
func (g GeneralCiphering) AppendHeader(dst []byte, n int) ([]byte, error) {
	dst = g.appendAAD(append(dst, byte(TagGeneralCiphering)))
	dst, err := g.Key.append(dst)
	if err != nil {
		return nil, fmt.Errorf("append %s: %w", TagGeneralCiphering, err)
	}
	return g.appendProtected(dst, n), nil
}

// AppendBinary appends the APDU.
func (g GeneralCiphering) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := g.AppendHeader(dst, len(g.Content))
	if err != nil {
		return nil, err
	}
	return append(dst, g.Content...), nil
}
