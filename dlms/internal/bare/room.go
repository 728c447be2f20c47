package bare

// Sizes of a block of AES and of the tag of DLMS.
const (
	block = 16
	tag   = 12
)

// Room returns dst with the room that a GCM with a tag of 12 bytes writes to when it seals n bytes. On amd64 the standard
// library (seen in Go 1.26.8) stores the last part of a plaintext as a whole block, and counts on a tag of 16 bytes behind
// it: with 1 to 3 bytes in the last block it writes up to 3 bytes beyond the capacity of dst, into whatever lies there. That
// was another key. Where dst has too little room it is copied, as append does.
func Room(dst []byte, n int) []byte {
	if uint(n-1)%block >= block-tag-1 { // nothing in the last block, or 4 bytes and more
		return dst
	}
	return roomFor(dst, n)
}

func roomFor(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n+block {
		return dst
	}
	return append(make([]byte, 0, len(dst)+n+block), dst...)
}
