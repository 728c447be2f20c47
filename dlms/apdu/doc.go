// Package apdu has one type for each application protocol data unit of DLMS/COSEM: the association's in BER (GB
// 9.4), all others in A-XDR (GB 9.5). Each has a ParseX that refuses trailing bytes, and an AppendBinary.
//
// Every parser bounds what it allocates by what it was given, never panics, and names the field at fault. Byte
// slices of a parsed APDU alias the input: copy what outlives it.
//
// AppendBinary writes one canonical form. A parser also accepts these others, and AppendBinary of what it returns
// is then shorter or different: a length in more octets than needed; a BOOLEAN or a usage flag other than 0 and 1;
// response-allowed written out although TRUE; the conformance under its old tag of one octet; INTEGER content with
// needless octets; a mechanism name without the ACSE requirements; a refused action's or a valueless
// return parameter of "success"; unused bits of a BIT STRING that are set.
package apdu
