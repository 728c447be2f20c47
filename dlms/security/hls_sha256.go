package security

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
)

// SHA256ReplySize is the size in bytes of f(challenge) of HLS with SHA-256.
const SHA256ReplySize = sha256.Size

// SHA256Reply returns f(challenge) of authentication mechanism 6, passes 3 and 4 (GB 9.2.7.4), 32 bytes:
//
//	pass 3: f(StoC) = SHA-256(HLS secret || SystemTitle-C || SystemTitle-S || StoC || CtoS)
//	pass 4: f(CtoS) = SHA-256(HLS secret || SystemTitle-S || SystemTitle-C || CtoS || StoC)
//
// Both are one function of who speaks: own title, peer's title, the challenge received and the challenge sent. Titles
// and challenges must be two of each: else the peer's reply could be one's own, reflected.
func SHA256Reply(secret key.Secret, own, peer dlms.SystemTitle, received, sent []byte) ([]byte, error) {
	if err := checkSHA256(secret, own, peer, received, sent); err != nil {
		return nil, fmt.Errorf("hls sha-256: %w", err)
	}
	d := sha256Reply(secret, own, peer, received, sent)
	return d[:], nil
}

// VerifySHA256Reply verifies the peer's f(challenge) in constant time. Its arguments are those of SHA256Reply as seen
// from this end: received is the peer's challenge, sent is one's own, which the reply answers. What does not verify
// gives ErrTag.
func VerifySHA256Reply(secret key.Secret, own, peer dlms.SystemTitle, received, sent, reply []byte) error {
	if err := checkSHA256(secret, own, peer, received, sent); err != nil {
		return fmt.Errorf("hls sha-256: %w", err)
	}
	want := sha256Reply(secret, peer, own, sent, received)
	if subtle.ConstantTimeCompare(want[:], reply) != 1 {
		return fmt.Errorf("hls sha-256: %w", ErrTag)
	}
	return nil
}

func checkSHA256(secret key.Secret, own, peer dlms.SystemTitle, received, sent []byte) error {
	switch {
	case secret.IsZero():
		return key.ErrNoKey
	case own.IsZero() || peer.IsZero():
		return fmt.Errorf("%w: one is missing", ErrTitle)
	}
	if err := checkChallenge(sent); err != nil {
		return err
	}
	return CheckPeer(sent, received, own, peer, dlms.SystemTitle{})
}

func sha256Reply(secret key.Secret, own, peer dlms.SystemTitle, received, sent []byte) [SHA256ReplySize]byte {
	b := key.RevealSecret(secret)
	defer clear(b)
	h := sha256.New()
	for _, part := range [][]byte{b, own[:], peer[:], received, sent} {
		h.Write(part)
	}
	return [SHA256ReplySize]byte(h.Sum(nil))
}
