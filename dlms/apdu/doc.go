// Package apdu has one type for each application protocol data unit of DLMS/COSEM: the association's in BER (GB
// 9.4), all others in A-XDR (GB 9.5). Each has a ParseX that refuses trailing bytes, and an AppendBinary.
//
// Not here: the services of short names (READ, WRITE), ACCESS, and general-signing, which needs security suite 1 or 2
// and is refused by name with ErrUnsupported. What is ciphered is taken apart and not opened: package security does.
//
// GetRequest and GetResponse also have a Parse into memory of the caller, and GetResponse an Append without a copy:
// what a reader of many meters does most allocates nothing.
//
// Every parser bounds what it allocates by what it was given, never panics, and names the field at fault. Byte
// slices of a parsed APDU alias the input: copy what outlives it.
//
// AppendBinary writes one canonical form. A parser also accepts these others, and AppendBinary of what it returns
// then differs from what it was given:
//
//   - a length in more octets than needed, and INTEGER content with needless octets;
//   - a BOOLEAN or a usage flag other than 0 and 1;
//   - response-allowed written out although it is TRUE, the default;
//   - the conformance block under its old tag of one octet;
//   - a mechanism name without the ACSE requirements, or with the requirements but without a name;
//   - bits of the ACSE requirements other than authentication;
//   - implementation-information under tag 0xBD instead of 0x9D;
//   - "data access result success" as the return parameters of an action.
package apdu
