package wire

// LengthSize returns the number of octets of the shortest form of a length. n must not be negative.
func LengthSize(n int) int {
	switch {
	case n < 0x80:
		return 1
	case n < 1<<8:
		return 2
	case n < 1<<16:
		return 3
	case n < 1<<24:
		return 4
	}
	return 5
}

// AppendLength appends a length in its shortest form. n must not be negative.
func AppendLength(dst []byte, n int) []byte {
	size := LengthSize(n) - 1
	if size == 0 {
		return append(dst, byte(n))
	}
	dst = append(dst, 0x80|byte(size))
	for i := size - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i)))
	}
	return dst
}

// AppendOctetString appends the length of b and b.
func AppendOctetString(dst, b []byte) []byte {
	return append(AppendLength(dst, len(b)), b...)
}

// AppendBool appends an A-XDR BOOLEAN, 1 for TRUE. It also serves as the usage flag of an OPTIONAL component.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
