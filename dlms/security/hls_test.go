package security_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

var (
	ours   = []byte("sixteen bytes AA")
	theirs = []byte("sixteen bytes BB")
)

func TestReplyVerifiesForItsChallengeTitleAndKeyAlone(t *testing.T) {
	c := newCipher(t, ek, ak)
	reply, err := security.BuildReply(c, alice, 77, ours)
	if err != nil || len(reply) != security.ReplySize {
		t.Fatalf("got %X, %v", reply, err)
	}
	if ic, err := security.VerifyReply(c, alice, ours, reply); err != nil || ic != 77 {
		t.Fatalf("verify: got %d, %v", ic, err)
	}
	for name, verify := range map[string]func() (dlms.InvocationCounter, error){
		"another challenge": func() (dlms.InvocationCounter, error) { return security.VerifyReply(c, alice, theirs, reply) },
		"another title":     func() (dlms.InvocationCounter, error) { return security.VerifyReply(c, bob, ours, reply) },
		"another key": func() (dlms.InvocationCounter, error) {
			return security.VerifyReply(newCipher(t, ak, ak), alice, ours, reply)
		},
		"another authentication key": func() (dlms.InvocationCounter, error) {
			return security.VerifyReply(newCipher(t, ek, nil), alice, ours, reply)
		},
	} {
		if ic, err := verify(); !errors.Is(err, security.ErrTag) || ic != 0 {
			t.Errorf("%s: got %d, %v", name, ic, err)
		}
	}
	for bit := 8; bit < 8*len(reply); bit++ {
		altered := bytes.Clone(reply)
		altered[bit/8] ^= 1 << (bit % 8)
		if _, err := security.VerifyReply(c, alice, ours, altered); !errors.Is(err, security.ErrTag) {
			t.Errorf("bit %d: got %v", bit, err)
		}
	}
}

func TestReplyWithAnotherControlByteOrLengthIsRefused(t *testing.T) {
	c := newCipher(t, ek, ak)
	reply, err := security.BuildReply(c, alice, 77, ours)
	if err != nil {
		t.Fatal(err)
	}
	for b := range 256 {
		altered := append([]byte{byte(b)}, reply[1:]...)
		if _, err := security.VerifyReply(c, alice, ours, altered); errors.Is(err, security.ErrPolicy) != (b != 0x10) {
			t.Errorf("control %02X: got %v", b, err)
		}
	}
	for n := range reply {
		if _, err := security.VerifyReply(c, alice, ours, reply[:n]); err == nil {
			t.Errorf("%d bytes: verifies", n)
		}
	}
	if _, err := security.VerifyReply(c, alice, ours, append(reply, 0)); err == nil {
		t.Error("a longer reply verifies")
	}
}

func TestReflectedChallengeOrTitleIsRefused(t *testing.T) {
	none := dlms.SystemTitle{}
	for name, c := range map[string]struct {
		peer                []byte
		peerTitle, expected dlms.SystemTitle
		want                error
	}{
		"expected peer":       {theirs, bob, bob, nil},
		"any peer":            {theirs, bob, none, nil},
		"our own challenge":   {ours, bob, bob, security.ErrChallenge},
		"our own title":       {theirs, alice, none, security.ErrTitle},
		"our own as expected": {theirs, alice, alice, security.ErrTitle},
		"another peer":        {theirs, dlms.SystemTitle{9}, bob, security.ErrTitle},
		"empty challenge":     {nil, bob, bob, security.ErrChallenge},
		"7 bytes":             {theirs[:7], bob, bob, security.ErrChallenge},
		"8 bytes":             {theirs[:8], bob, bob, nil},
		"64 bytes":            {make([]byte, 64), bob, bob, nil},
		"65 bytes":            {make([]byte, 65), bob, bob, security.ErrChallenge},
	} {
		err := security.CheckPeer(ours, c.peer, alice, c.peerTitle, c.expected)
		if (c.want == nil) != (err == nil) || !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
	}
}

func TestShortChallengeIsNeitherAnsweredNorVerified(t *testing.T) {
	c := newCipher(t, ek, ak)
	for _, n := range []int{0, 7, 65} {
		if _, err := security.BuildReply(c, alice, 1, make([]byte, n)); !errors.Is(err, security.ErrChallenge) {
			t.Errorf("answer to %d bytes: got %v", n, err)
		}
		if _, err := security.VerifyReply(c, alice, make([]byte, n), make([]byte, security.ReplySize)); !errors.Is(err, security.ErrChallenge) {
			t.Errorf("reply to %d bytes: got %v", n, err)
		}
	}
}

func TestNewChallengeHasSixteenBytesOfTheSourceOrFails(t *testing.T) {
	b, err := security.NewChallenge(bytes.NewReader(ours))
	if err != nil || !bytes.Equal(b, ours) {
		t.Errorf("got %X, %v", b, err)
	}
	if b, err := security.NewChallenge(iotest.ErrReader(errDisk)); !errors.Is(err, errDisk) || b != nil {
		t.Errorf("got %X, %v", b, err)
	}
}
