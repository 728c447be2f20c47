package key

import (
	"crypto/cipher"
	"io"
)

// Each role has a field of a type of its own, so that no role converts into another.
type (
	masterRole         struct{}
	unicastRole        struct{}
	authenticationRole struct{}
	dedicatedRole      struct{}
	wrappingRole       struct{}
	macRole            struct{}
)

// Master is the key that delivers other keys to one meter and does nothing else: CCC, the KEK of the security setup
// (GB 9.2.3.3.5). It never protects a message.
type Master struct {
	_ masterRole
	material
}

// NewMaster copies the 16 bytes of b.
func NewMaster(b []byte) (Master, error) {
	m, err := newMaterial("master", b)
	return Master{material: m}, err
}

// GenerateMaster makes a key from rand.
func GenerateMaster(rand io.Reader) (Master, error) {
	m, err := generateMaterial("master", rand)
	return Master{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k Master) Equal(o Master) bool { return k.equal(o.material) }

func (k Master) wrappable() material { return k.material }

// Unicast is a global unicast encryption key (GB 9.2.3.3.5): CC_LAN, CC_LOCALE, CC_IS. It opens and closes
// associations.
type Unicast struct {
	_ unicastRole
	material
}

// NewUnicast copies the 16 bytes of b.
func NewUnicast(b []byte) (Unicast, error) {
	m, err := newMaterial("unicast", b)
	return Unicast{material: m}, err
}

// GenerateUnicast makes a key from rand.
func GenerateUnicast(rand io.Reader) (Unicast, error) {
	m, err := generateMaterial("unicast", rand)
	return Unicast{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k Unicast) Equal(o Unicast) bool { return k.equal(o.material) }

func (k Unicast) wrappable() material { return k.material }

// AEAD returns AES-128-GCM with the 12-byte tag of DLMS (GB 9.2.3.3.7) under the key.
func (k Unicast) AEAD() (cipher.AEAD, error) { return newAEAD(k.material) }

// Authentication is a global authentication key (GB 9.2.3.3.5): it enters the additional authenticated data and
// encrypts nothing.
type Authentication struct {
	_ authenticationRole
	material
}

// NewAuthentication copies the 16 bytes of b.
func NewAuthentication(b []byte) (Authentication, error) {
	m, err := newMaterial("authentication", b)
	return Authentication{material: m}, err
}

// GenerateAuthentication makes a key from rand.
func GenerateAuthentication(rand io.Reader) (Authentication, error) {
	m, err := generateMaterial("authentication", rand)
	return Authentication{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k Authentication) Equal(o Authentication) bool { return k.equal(o.material) }

func (k Authentication) wrappable() material { return k.material }

// Dedicated is the session key that travels in an InitiateRequest (GB 9.2.3.3.5). It lives as long as its
// association and is not wrapped for storage.
type Dedicated struct {
	_ dedicatedRole
	material
}

// NewDedicated copies the 16 bytes of b.
func NewDedicated(b []byte) (Dedicated, error) {
	m, err := newMaterial("dedicated", b)
	return Dedicated{material: m}, err
}

// GenerateDedicated makes a key from rand.
func GenerateDedicated(rand io.Reader) (Dedicated, error) {
	m, err := generateMaterial("dedicated", rand)
	return Dedicated{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k Dedicated) Equal(o Dedicated) bool { return k.equal(o.material) }

// AEAD returns AES-128-GCM with the 12-byte tag of DLMS (GB 9.2.3.3.7) under the key.
func (k Dedicated) AEAD() (cipher.AEAD, error) { return newAEAD(k.material) }

// Named is AEAD and Fingerprint in one, which expands the key once.
func (k Dedicated) Named() (cipher.AEAD, Fingerprint, error) {
	block, err := k.block()
	if err != nil {
		return nil, Fingerprint{}, err
	}
	a, err := k.aeadOf(block)
	return a, fingerprintOf(block), err
}

// Wrapping is the key-encryption key of a concentrator, a terminal or a store: it wraps keys at rest and in
// delivery between parts of one's own system.
type Wrapping struct {
	_ wrappingRole
	material
}

// NewWrapping copies the 16 bytes of b.
func NewWrapping(b []byte) (Wrapping, error) {
	m, err := newMaterial("wrapping", b)
	return Wrapping{material: m}, err
}

// GenerateWrapping makes a key from rand.
func GenerateWrapping(rand io.Reader) (Wrapping, error) {
	m, err := generateMaterial("wrapping", rand)
	return Wrapping{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k Wrapping) Equal(o Wrapping) bool { return k.equal(o.material) }

func (k Wrapping) wrappable() material { return k.material }

// MAC is an AES-CMAC key (RFC 4493). It binds what a key wrap cannot bind: whose key a row holds, and in which role.
type MAC struct {
	_ macRole
	material
}

// NewMAC copies the 16 bytes of b.
func NewMAC(b []byte) (MAC, error) {
	m, err := newMaterial("mac", b)
	return MAC{material: m}, err
}

// GenerateMAC makes a key from rand.
func GenerateMAC(rand io.Reader) (MAC, error) {
	m, err := generateMaterial("mac", rand)
	return MAC{material: m}, err
}

// Equal compares in constant time. An unset key equals nothing.
func (k MAC) Equal(o MAC) bool { return k.equal(o.material) }

func (k MAC) wrappable() material { return k.material }
