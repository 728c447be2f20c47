package security

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
)

// Sizes in HLS with GMAC, in bytes (GB 9.2.7.4). A challenge has 8 to 64 bytes by the standard; ours have 16.
const (
	ChallengeSize    = 16
	MinChallengeSize = 8
	MaxChallengeSize = 64
	ReplySize        = 1 + 4 + TagSize
)

// ErrChallenge is returned for a challenge that is too short, too long, or one's own sent back.
var ErrChallenge = errors.New("security: challenge refused")

// NewChallenge draws a challenge of 16 bytes.
func NewChallenge(rand io.Reader) ([]byte, error) {
	b := make([]byte, ChallengeSize)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("challenge: read randomness: %w", err)
	}
	return b, nil
}

// CheckPeer refuses what would let an authentication be reflected: a challenge equal to one's own or of a bad
// length, a system title equal to one's own, or, where expected is set, another title than that.
func CheckPeer(own, peer []byte, ownTitle, peerTitle, expected dlms.SystemTitle) error {
	if err := checkChallenge(peer); err != nil {
		return err
	}
	if bytes.Equal(own, peer) {
		return fmt.Errorf("%w: the peer sent our own back", ErrChallenge)
	}
	if ownTitle == peerTitle {
		return fmt.Errorf("%w: the peer claims our own, %s", ErrTitle, ownTitle)
	}
	if !expected.IsZero() && peerTitle != expected {
		return fmt.Errorf("%w: want %s, got %s", ErrTitle, expected, peerTitle)
	}
	return nil
}

// BuildReply returns f(challenge) of HLS-GMAC, passes 3 and 4 (GB 9.2.7.4): SC || IC || GMAC(SC || AK || challenge),
// 17 bytes, under the sender's own title. It spends ic, which the caller reserves before the counter of the APDU
// that carries the reply.
func BuildReply(c *Cipher, title dlms.SystemTitle, ic dlms.InvocationCounter, challenge []byte) ([]byte, error) {
	if err := checkChallenge(challenge); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, ReplySize), byte(Authenticated))
	out = binary.BigEndian.AppendUint32(out, uint32(ic))
	tag := c.GMAC(title, ic, challenge)
	return append(out, tag[:]...), nil
}

// VerifyReply verifies the peer's f(challenge) and returns the counter in it. That counter is not held against the
// floor, as the challenge is what makes the reply fresh; after a success it is given to [CommitInner].
func VerifyReply(c *Cipher, peer dlms.SystemTitle, challenge, reply []byte) (dlms.InvocationCounter, error) {
	if err := checkChallenge(challenge); err != nil {
		return 0, err
	}
	if len(reply) != ReplySize {
		return 0, fmt.Errorf("hls reply: want %d bytes, got %d", ReplySize, len(reply))
	}
	if ctl := Control(reply[0]); ctl != Authenticated {
		return 0, fmt.Errorf("hls reply: %w: want %s, got %s", ErrPolicy, Authenticated, ctl)
	}
	ic := dlms.InvocationCounter(binary.BigEndian.Uint32(reply[1:]))
	if err := c.verifyGMAC(peer, ic, challenge, reply[5:]); err != nil {
		return 0, fmt.Errorf("hls reply: %w", err)
	}
	return ic, nil
}

func checkChallenge(b []byte) error {
	if len(b) < MinChallengeSize || len(b) > MaxChallengeSize {
		return fmt.Errorf("%w: want %d to %d bytes, got %d", ErrChallenge, MinChallengeSize, MaxChallengeSize, len(b))
	}
	return nil
}
