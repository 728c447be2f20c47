// Package pkcs11 holds the keys of a vault in a PKCS#11 token (Cryptoki 2.40): the second [vault.Hold], behind the build
// tag of the same name, because it needs cgo. Without the tag this package is empty.
//
// # What is where
//
// The root is made in the token by its own generator and cannot leave it: for each term an AES key that wraps
// (CKM_AES_KEY_WRAP) and one that authenticates (CKM_AES_CMAC), and one RSA key that files to the vault are sealed to. They
// are token objects whose labels name vault and term. Everything else is in the store, wrapped under the root, and comes
// into the token for one operation, as a session object that is destroyed when the operation ends:
//
//   - CCC is unwrapped, wraps, and is destroyed. Its object may do nothing but CKM_AES_KEY_WRAP and is never extractable.
//   - CC_LAN, CC_LOCALE and CC_IS are drawn by the token. To be wrapped a key must be extractable; the object in which it is
//     may then do nothing else. To open an association it is unwrapped into an object that does CKM_AES_GCM alone.
//   - The two keys of a concentrator or terminal likewise.
//
// AES key wrap binds nothing to a key, so every row has an AES-CMAC under the term's MAC key over whose key it is, in the
// same text as in a software vault ([vault.KeyRow.Bound]). The token checks it before the blob is unwrapped.
//
// # What passes through this process
//
// Where a token does not take the caller's initialization vector for CKM_AES_GCM (in FIPS mode some draw it themselves, and
// DLMS prescribes it), CC_IS and CC_LAN are taken out, wrapped to an RSA key that this process made, for one association.
// Never CCC. [Token.Describe] says which it is; it is tried when the token is opened.
//
// # When the token goes away
//
// Nothing that this package does changes anything but session objects, so an operation that failed has done nothing, and one
// that found the session gone is tried once more on a new one. A PIN that was refused is not tried again: three tries lock
// a token.
package pkcs11
