package security_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func hlsSecret(t testing.TB, s string) key.Secret {
	t.Helper()
	v, err := key.NewSecret([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The order of the parts is that of GB 9.2.7.4, written out here by hand.
func TestSHA256ReplyHashesTitlesAndChallengesInTheOrderOfWhoSpeaks(t *testing.T) {
	s := hlsSecret(t, "the secret")
	sum := func(parts ...[]byte) []byte {
		d := sha256.Sum256(bytes.Join(parts, nil))
		return d[:]
	}
	pass3, err := security.SHA256Reply(s, alice, bob, theirs, ours) // the client, whose challenge CtoS is ours
	if want := sum([]byte("the secret"), alice[:], bob[:], theirs, ours); err != nil || !bytes.Equal(pass3, want) {
		t.Errorf("f(StoC): want %X, got %X, %v", want, pass3, err)
	}
	pass4, err := security.SHA256Reply(s, bob, alice, ours, theirs) // the server
	if want := sum([]byte("the secret"), bob[:], alice[:], ours, theirs); err != nil || !bytes.Equal(pass4, want) {
		t.Errorf("f(CtoS): want %X, got %X, %v", want, pass4, err)
	}
	if err := security.VerifySHA256Reply(s, bob, alice, ours, theirs, pass3); err != nil {
		t.Errorf("the server refuses the client: %v", err)
	}
	if err := security.VerifySHA256Reply(s, alice, bob, theirs, ours, pass4); err != nil {
		t.Errorf("the client refuses the server: %v", err)
	}
}

func TestSHA256ReplyVerifiesForItsSecretTitlesAndChallengesAlone(t *testing.T) {
	s, third := hlsSecret(t, "the secret"), []byte("sixteen bytes CC")
	reply, err := security.SHA256Reply(s, alice, bob, theirs, ours)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another secret":       security.VerifySHA256Reply(hlsSecret(t, "the Secret"), bob, alice, ours, theirs, reply),
		"reflected":            security.VerifySHA256Reply(s, alice, bob, theirs, ours, reply),
		"titles swapped":       security.VerifySHA256Reply(s, alice, bob, ours, theirs, reply),
		"challenges swapped":   security.VerifySHA256Reply(s, bob, alice, theirs, ours, reply),
		"another own title":    security.VerifySHA256Reply(s, dlms.SystemTitle{9}, alice, ours, theirs, reply),
		"another challenge":    security.VerifySHA256Reply(s, bob, alice, ours, third, reply),
		"another of the peer":  security.VerifySHA256Reply(s, bob, alice, third, theirs, reply),
		"shorter":              security.VerifySHA256Reply(s, bob, alice, ours, theirs, reply[:31]),
		"longer":               security.VerifySHA256Reply(s, bob, alice, ours, theirs, append(bytes.Clone(reply), 0)),
		"nothing":              security.VerifySHA256Reply(s, bob, alice, ours, theirs, nil),
		"the challenge itself": security.VerifySHA256Reply(s, bob, alice, ours, theirs, theirs),
	} {
		if !errors.Is(err, security.ErrTag) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for bit := range 8 * len(reply) {
		altered := bytes.Clone(reply)
		altered[bit/8] ^= 1 << (bit % 8)
		if err := security.VerifySHA256Reply(s, bob, alice, ours, theirs, altered); !errors.Is(err, security.ErrTag) {
			t.Errorf("bit %d: got %v", bit, err)
		}
	}
}

func TestSHA256ReplyRefusesWhatCouldBeReflected(t *testing.T) {
	s := hlsSecret(t, "the secret")
	for name, c := range map[string]struct {
		secret         key.Secret
		own, peer      dlms.SystemTitle
		received, sent []byte
		want           error
	}{
		"no secret":           {key.Secret{}, alice, bob, theirs, ours, key.ErrNoKey},
		"no own title":        {s, dlms.SystemTitle{}, bob, theirs, ours, security.ErrTitle},
		"no peer's title":     {s, alice, dlms.SystemTitle{}, theirs, ours, security.ErrTitle},
		"one's own title":     {s, alice, alice, theirs, ours, security.ErrTitle},
		"one's own challenge": {s, alice, bob, ours, ours, security.ErrChallenge},
		"a short challenge":   {s, alice, bob, theirs[:7], ours, security.ErrChallenge},
		"a short one sent":    {s, alice, bob, theirs, ours[:7], security.ErrChallenge},
		"a long challenge":    {s, alice, bob, make([]byte, 65), ours, security.ErrChallenge},
	} {
		if got, err := security.SHA256Reply(c.secret, c.own, c.peer, c.received, c.sent); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: got %X, %v", name, got, err)
		}
		if err := security.VerifySHA256Reply(c.secret, c.own, c.peer, c.received, c.sent, make([]byte, 32)); !errors.Is(err, c.want) {
			t.Errorf("%s, verify: got %v", name, err)
		}
	}
}

func FuzzVerifySHA256Reply(f *testing.F) {
	s := hlsSecret(f, "the secret")
	reply, err := security.SHA256Reply(s, alice, bob, theirs, ours)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(theirs, reply)
	f.Add([]byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, challenge, got []byte) {
		err := security.VerifySHA256Reply(s, bob, alice, ours, challenge, got)
		if err == nil && !(bytes.Equal(challenge, theirs) && bytes.Equal(got, reply)) {
			t.Errorf("forged: %X for %X", got, challenge)
		}
	})
}
