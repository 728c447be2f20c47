package dlms

import (
	"fmt"
	"strconv"
	"strings"
)

// ClassID is the number of a COSEM interface class (BB 4).
type ClassID uint16

// Interface classes that this module serves or reads (BB 4.3 to 4.5).
const (
	ClassData              ClassID = 1
	ClassRegister          ClassID = 3
	ClassExtendedRegister  ClassID = 4
	ClassDemandRegister    ClassID = 5
	ClassProfileGeneric    ClassID = 7
	ClassClock             ClassID = 8
	ClassAssociationLN     ClassID = 15
	ClassSAPAssignment     ClassID = 17
	ClassImageTransfer     ClassID = 18
	ClassActivityCalendar  ClassID = 20
	ClassIECHDLCSetup      ClassID = 23
	ClassPushSetup         ClassID = 40
	ClassTCPUDPSetup       ClassID = 41
	ClassSecuritySetup     ClassID = 64
	ClassDisconnectControl ClassID = 70
	ClassLimiter           ClassID = 71
)

// AttributeRef is a COSEM attribute descriptor: class, logical name, attribute number (GB 9.3.9.1).
type AttributeRef struct {
	// Class is the interface class, Instance the logical name of the object.
	Class    ClassID
	Instance OBIS
	// Attribute is the number of the attribute, from 1; 0 is all of them where a service allows it.
	Attribute int8
}

// MethodRef is a COSEM method descriptor: class, logical name, method number (GB 9.3.9.1).
type MethodRef struct {
	// Class is the interface class, Instance the logical name of the object.
	Class    ClassID
	Instance OBIS
	// Method is the number of the method, from 1.
	Method int8
}

// ParseAttributeRef reads "CLASS/OBIS/ATTRIBUTE", for example "3/1.0.1.8.0.255/2".
func ParseAttributeRef(s string) (AttributeRef, error) {
	class, obis, n, err := parseRef(s)
	if err != nil {
		return AttributeRef{}, fmt.Errorf("attribute %q: %w", s, err)
	}
	return AttributeRef{Class: class, Instance: obis, Attribute: n}, nil
}

// ParseMethodRef reads "CLASS/OBIS/METHOD", for example "70/0.0.96.3.10.255/1".
func ParseMethodRef(s string) (MethodRef, error) {
	class, obis, n, err := parseRef(s)
	if err != nil {
		return MethodRef{}, fmt.Errorf("method %q: %w", s, err)
	}
	return MethodRef{Class: class, Instance: obis, Method: n}, nil
}

func parseRef(s string) (ClassID, OBIS, int8, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return 0, OBIS{}, 0, fmt.Errorf("want CLASS/OBIS/NUMBER, for example 3/1.0.1.8.0.255/2")
	}
	class, err := strconv.ParseUint(parts[0], 10, 16)
	if err != nil {
		return 0, OBIS{}, 0, fmt.Errorf("class: want a number from 0 to 65535, got %q", parts[0])
	}
	obis, err := ParseOBIS(parts[1])
	if err != nil {
		return 0, OBIS{}, 0, err
	}
	n, err := strconv.ParseInt(parts[2], 10, 8)
	if err != nil {
		return 0, OBIS{}, 0, fmt.Errorf("attribute or method: want a number from -128 to 127, got %q", parts[2])
	}
	return ClassID(class), obis, int8(n), nil
}

// String returns "CLASS/OBIS/ATTRIBUTE".
func (r AttributeRef) String() string {
	return fmt.Sprintf("%d/%s/%d", r.Class, r.Instance, r.Attribute)
}

// String returns "CLASS/OBIS/METHOD".
func (r MethodRef) String() string { return fmt.Sprintf("%d/%s/%d", r.Class, r.Instance, r.Method) }
