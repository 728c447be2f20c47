// Package bare lets the packages of this library take the cipher out of the AEAD that a key gives, which hides the
// key schedule from who prints it. Whoever takes it hides it again: it saves two calls for each APDU, and no more.
package bare

import "crypto/cipher"

// Token is what only a package that may import this one can make. The zero value, which reflection can make too,
// opens nothing.
type Token struct{ valid bool }

// Valid reports whether the token was made by [Of].
func (t Token) Valid() bool { return t.valid }

// Holder is an AEAD that hides another.
type Holder interface {
	cipher.AEAD
	// Bare returns the AEAD inside, or itself for a token that is not valid.
	Bare(t Token) cipher.AEAD
}

// Of returns the AEAD inside a, or a where it is no Holder: one that watches, or a token's.
func Of(a cipher.AEAD) cipher.AEAD {
	if h, ok := a.(Holder); ok {
		return h.Bare(Token{valid: true})
	}
	return a
}
