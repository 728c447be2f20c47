package dlms

import "strconv"

// Tag is the tag of the Data choice (GB 9.5, Data; BB 4.1.5 gives the ranges).
type Tag uint8

// Tags of Data. What is missing between them is not used by DLMS/COSEM.
const (
	TagNull          Tag = 0
	TagArray         Tag = 1
	TagStructure     Tag = 2
	TagBool          Tag = 3
	TagBitString     Tag = 4
	TagInt32         Tag = 5 // double-long
	TagUint32        Tag = 6 // double-long-unsigned
	TagOctetString   Tag = 9
	TagVisibleString Tag = 10 // ASCII
	TagUTF8String    Tag = 12
	TagBCD           Tag = 13
	TagInt8          Tag = 15 // integer
	TagInt16         Tag = 16 // long
	TagUint8         Tag = 17 // unsigned
	TagUint16        Tag = 18 // long-unsigned
	TagCompactArray  Tag = 19
	TagInt64         Tag = 20 // long64
	TagUint64        Tag = 21 // long64-unsigned
	TagEnum          Tag = 22
	TagFloat32       Tag = 23
	TagFloat64       Tag = 24
	TagDateTime      Tag = 25
	TagDate          Tag = 26
	TagTime          Tag = 27
	TagDontCare      Tag = 255
)

// String returns the name that the standard gives the type.
func (t Tag) String() string {
	if s := t.listName(); s != "" {
		return s
	}
	if s := t.integerName(); s != "" {
		return s
	}
	if s := t.stringName(); s != "" {
		return s
	}
	return "data type " + strconv.Itoa(int(t))
}

func (t Tag) listName() string {
	switch t {
	case TagNull:
		return "null-data"
	case TagArray:
		return "array"
	case TagStructure:
		return "structure"
	case TagCompactArray:
		return "compact-array"
	case TagDontCare:
		return "dont-care"
	}
	return ""
}

func (t Tag) integerName() string {
	switch t {
	case TagBool:
		return "boolean"
	case TagInt8:
		return "integer"
	case TagInt16:
		return "long"
	case TagInt32:
		return "double-long"
	case TagInt64:
		return "long64"
	case TagUint8:
		return "unsigned"
	case TagUint16:
		return "long-unsigned"
	case TagUint32:
		return "double-long-unsigned"
	case TagUint64:
		return "long64-unsigned"
	case TagEnum:
		return "enum"
	case TagBCD:
		return "bcd"
	}
	return ""
}

func (t Tag) stringName() string {
	switch t {
	case TagBitString:
		return "bit-string"
	case TagOctetString:
		return "octet-string"
	case TagVisibleString:
		return "visible-string"
	case TagUTF8String:
		return "utf8-string"
	case TagFloat32:
		return "float32"
	case TagFloat64:
		return "float64"
	case TagDateTime:
		return "date-time"
	case TagDate:
		return "date"
	case TagTime:
		return "time"
	}
	return ""
}

// fixedSize returns the number of content bytes of a type whose size does not vary, or -1.
func (t Tag) fixedSize() int {
	switch t {
	case TagNull, TagDontCare:
		return 0
	case TagBool, TagInt8, TagUint8, TagEnum, TagBCD:
		return 1
	case TagInt16, TagUint16:
		return 2
	case TagInt32, TagUint32, TagFloat32, TagTime:
		return 4
	case TagDate:
		return dateSize
	case TagInt64, TagUint64, TagFloat64:
		return 8
	case TagDateTime:
		return dateTimeSize
	}
	return -1
}
