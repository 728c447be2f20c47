package security_test

import (
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// sizes are the lengths of the octet string in the GET response of the benchmarks.
var sizes = []int{64, 1024}

// response is the GET response of the benchmarks.
func response(n int) apdu.GetResponse {
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(i)
	}
	return apdu.GetResponse{
		Kind: apdu.GetResponseNormal, ID: apdu.NewInvokeID(1, true, true),
		Result: apdu.GetResult{Data: dlms.OctetString(value)},
	}
}

func plainResponse(b testing.TB, n int) []byte {
	b.Helper()
	plain, err := response(n).AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	return plain
}

// sessionCipher is the cipher of a dedicated key, with an authentication key, as an association has it.
func sessionCipher(b testing.TB) *security.Cipher {
	b.Helper()
	k, err := key.NewDedicated(ek)
	if err != nil {
		b.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		b.Fatal(err)
	}
	a, err := key.NewAuthentication(ak)
	if err != nil {
		b.Fatal(err)
	}
	c, err := security.NewCipher(aead, a)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func bySize(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			run(b, n)
		})
	}
}

// encodeAndSeal is what an end does for one answer: it encodes the response behind the room for the header and
// encrypts it there. The bytes it returns are those of buf.
func encodeAndSeal(c *security.Cipher, buf []byte, p *apdu.GetResponse, ic dlms.InvocationCounter) ([]byte, error) {
	plain, err := p.Append(buf[:security.Reserve])
	if err != nil {
		return nil, err
	}
	return c.SealInPlace(plain, security.Envelope{
		Tag: apdu.TagDedGetResponse, Control: security.AuthenticatedEncrypted, Title: alice, Counter: ic,
	})
}

// openAndDecode is what an end does with one answer: what p then has aliases buf, or b where buf is nil.
func openAndDecode(c *security.Cipher, p *apdu.GetResponse, buf, b []byte) error {
	ciphered, err := apdu.ParseCiphered(b)
	if err != nil {
		return err
	}
	ctl := security.Control(ciphered.Control)
	if err := security.PolicyAuthenticatedEncrypted.Check(ctl); err != nil {
		return err
	}
	if buf == nil {
		buf = ciphered.Content[:0]
	}
	plain, err := c.Open(buf, ctl, alice, ciphered.Counter, ciphered.Content)
	if err != nil {
		return err
	}
	return p.Parse(plain)
}

// BenchmarkAPDUSeal encodes and encrypts a GET response with an octet string of that size.
func BenchmarkAPDUSeal(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		c, p, buf := sessionCipher(b), response(n), make([]byte, 0, n+64)
		ic := dlms.InvocationCounter(0)
		for b.Loop() {
			ic++
			if _, err := encodeAndSeal(c, buf, &p, ic); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAPDUOpen decrypts and decodes what BenchmarkAPDUSeal makes, into a reused buffer.
func BenchmarkAPDUOpen(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		c, p := sessionCipher(b), response(n)
		sealed, err := encodeAndSeal(c, make([]byte, 0, n+64), &p, 1)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 0, len(sealed))
		var got apdu.GetResponse
		for b.Loop() {
			if err := openAndDecode(c, &got, buf, sealed); err != nil {
				b.Fatal(err)
			}
		}
		if got.Result.Data.Len() != n {
			b.Errorf("want %d bytes, got %s", n, got.Result.Data)
		}
	})
}

// BenchmarkAPDUFloorSeal is AES-128-GCM of the standard library over the plaintext of BenchmarkAPDUSeal, into a
// reused buffer, with initialization vector and additional data reused.
func BenchmarkAPDUFloorSeal(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		gcm, plain, iv, aad := bareGCM(b, ek), plainResponse(b, n), make([]byte, 12), make([]byte, 17)
		buf := make([]byte, 0, n+64)
		for b.Loop() {
			gcm.Seal(buf, iv, plain, aad)
		}
	})
}

// BenchmarkAPDUFloorOpen is the other direction.
func BenchmarkAPDUFloorOpen(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		gcm, plain, iv, aad := bareGCM(b, ek), plainResponse(b, n), make([]byte, 12), make([]byte, 17)
		sealed, buf := gcm.Seal(nil, iv, plain, aad), make([]byte, 0, n+64)
		for b.Loop() {
			if _, err := gcm.Open(buf, iv, sealed, aad); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestTheHotPathOfAnAssociationAllocatesNothing(t *testing.T) {
	for _, n := range sizes {
		c, p, buf := sessionCipher(t), response(n), make([]byte, 0, n+64)
		var got apdu.GetResponse
		if allocs := testing.AllocsPerRun(200, func() {
			sealed, err := encodeAndSeal(c, buf, &p, 7)
			if err != nil {
				t.Fatal(err)
			}
			if err := openAndDecode(c, &got, nil, sealed); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("size %d: want 0 allocations, got %v", n, allocs)
		}
	}
}
