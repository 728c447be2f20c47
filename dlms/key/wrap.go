package key

import "fmt"

// Wrappable is a key that may be wrapped: every role but the session key, which is kept nowhere. A wrap binds
// neither role nor owner (RFC 3394 has no associated data): whoever stores wrapped keys binds them by a [MAC].
type Wrappable interface {
	Key
	wrappable() material
}

// Wrap wraps k for delivery by key_transfer (BB 4.4.7, RFC 3394). A master key delivers unicast, authentication
// and master keys; for other roles it returns ErrRole.
func (k Master) Wrap(w Wrappable) ([]byte, error) {
	switch w.(type) {
	case Unicast, Authentication, Master:
		return wrap(k.material, w)
	}
	return nil, fmt.Errorf("%w: %s", ErrRole, w)
}

// UnwrapUnicast opens a wrapped key of 24 bytes as a global unicast encryption key.
func (k Master) UnwrapUnicast(blob []byte) (Unicast, error) {
	m, err := unwrap(k.material, "unicast", blob)
	return Unicast{material: m}, err
}

// UnwrapAuthentication opens a wrapped key of 24 bytes as an authentication key.
func (k Master) UnwrapAuthentication(blob []byte) (Authentication, error) {
	m, err := unwrap(k.material, "authentication", blob)
	return Authentication{material: m}, err
}

// UnwrapMaster opens a wrapped key of 24 bytes as the master key that comes next.
func (k Master) UnwrapMaster(blob []byte) (Master, error) {
	m, err := unwrap(k.material, "master", blob)
	return Master{material: m}, err
}

// Wrap wraps k (RFC 3394).
func (k Wrapping) Wrap(w Wrappable) ([]byte, error) { return wrap(k.material, w) }

// UnwrapUnicast opens a wrapped key of 24 bytes as a global unicast encryption key.
func (k Wrapping) UnwrapUnicast(blob []byte) (Unicast, error) {
	m, err := unwrap(k.material, "unicast", blob)
	return Unicast{material: m}, err
}

// UnwrapAuthentication opens a wrapped key of 24 bytes as an authentication key.
func (k Wrapping) UnwrapAuthentication(blob []byte) (Authentication, error) {
	m, err := unwrap(k.material, "authentication", blob)
	return Authentication{material: m}, err
}

// UnwrapMaster opens a wrapped key of 24 bytes as a meter's master key.
func (k Wrapping) UnwrapMaster(blob []byte) (Master, error) {
	m, err := unwrap(k.material, "master", blob)
	return Master{material: m}, err
}

// UnwrapMAC opens a wrapped key of 24 bytes as a MAC key.
func (k Wrapping) UnwrapMAC(blob []byte) (MAC, error) {
	m, err := unwrap(k.material, "mac", blob)
	return MAC{material: m}, err
}

// UnwrapWrapping opens a wrapped key of 24 bytes as another wrapping key.
func (k Wrapping) UnwrapWrapping(blob []byte) (Wrapping, error) {
	m, err := unwrap(k.material, "wrapping", blob)
	return Wrapping{material: m}, err
}

func wrap(kek material, w Wrappable) ([]byte, error) {
	block, err := kek.block()
	if err != nil {
		return nil, fmt.Errorf("key wrap: %w", err)
	}
	m := w.wrappable()
	if m.IsZero() {
		return nil, fmt.Errorf("key wrap: key to wrap: %w", ErrNoKey)
	}
	return WrapBlob(block, m.reveal())
}

func unwrap(kek material, role string, blob []byte) (material, error) {
	block, err := kek.block()
	if err != nil {
		return material{}, fmt.Errorf("key unwrap: %w", err)
	}
	b, err := UnwrapBlob(block, blob)
	if err != nil {
		return material{}, err
	}
	defer clear(b)
	return newMaterial(role, b)
}
