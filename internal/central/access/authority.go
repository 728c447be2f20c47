package access

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/meterseal/meterseal/internal/durable"
)

// Dir is the directory, in a data directory, of the certificates of people on this machine.
const Dir = "people"

// Files of the authority, beside the other certificates of the central system. Only the key of the authority lets anybody
// in; it is sealed with the passphrase of the vault's root, if that has one.
const (
	caCert     = "people-ca.pem"
	caKey      = "people-ca.key"
	serverFile = "people-is.pem"
)

// ServerName is the name that the central system's own certificate has, wherever it is reached.
const ServerName = "is.meterseal"

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	// authorityAge is how far before its making the authority counts. Nothing is trusted for its beginning, and a clock
	// that was ahead on the day of the ceremony must lock nobody out once it is set right.
	authorityAge = 10 * 365 * 24 * time.Hour
	skew         = 24 * time.Hour
	maxFile      = 64 << 10
	pemCert      = "CERTIFICATE"
	pemKey       = "PRIVATE KEY"
	ageMagic     = "age-encryption.org/v1"
)

// DefaultLife is how long a certificate of a person counts, MaxLife the longest.
const (
	DefaultLife = 365 * 24 * time.Hour
	MaxLife     = 5 * 365 * 24 * time.Hour
)

// Errors of the authority.
var (
	// ErrAuthority is returned where the authority is not there, or cannot be opened.
	ErrAuthority = errors.New("access: authority")
	// ErrName is returned for what is no name of a person.
	ErrName = errors.New("access: name: want lower-case letters, digits, '.', '-' and '_', at most 64, the first one a letter or digit")
)

// names are strict, so that no two look alike.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// CheckName refuses what is no name of a person.
func CheckName(name string) error {
	if !names.MatchString(name) || strings.HasSuffix(name, ".pem") {
		return fmt.Errorf("%w; got %q", ErrName, name)
	}
	return nil
}

// Authority issues certificates. It prints nothing of its key.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// String names it.
func (a *Authority) String() string { return "authority " + Fingerprint(a.cert) }

// Format prints String for every verb.
func (a *Authority) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, a.String()) }

// Fingerprint is SHA-256 of a certificate, in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// AuthorityOptions of InitAuthority.
type AuthorityOptions struct {
	// Passphrase seals the authority's key (age, scrypt). Without one the file is readable by its owner alone.
	Passphrase []byte
	// ScryptWork is the work factor as a power of two; 0 is age's own. Tests lower it.
	ScryptWork int
	Now        time.Time
	Rand       io.Reader
}

// InitAuthority makes the authority of a central system in dir, and the central system's own certificate. It never replaces
// one: ErrExists of package fs.
func InitAuthority(dir string, o AuthorityOptions) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), o.Rand)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	self := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Meterseal people authority"}, NotBefore: o.Now.Add(-authorityAge), NotAfter: o.Now.Add(authorityLife),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := sign(o.Rand, self, self, key.Public(), key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	if err := writeServer(dir, o, &Authority{cert, key}); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	sealed, err := sealKey(key, o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	if err := durable.Create(filepath.Join(dir, caKey), sealed); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	// The last one: with it the authority is there.
	return durable.Create(filepath.Join(dir, caCert), pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: cert.Raw}))
}

// HasAuthority reports whether there is one.
func HasAuthority(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, caCert))
	return err == nil
}

// writeServer makes the central system's own certificate. What an InitAuthority that was cut short left is replaced.
func writeServer(dir string, o AuthorityOptions, a *Authority) error {
	for _, name := range []string{serverFile, caKey} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), o.Rand)
	if err != nil {
		return err
	}
	cert, err := sign(o.Rand, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Meterseal central system"}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		BasicConstraintsValid: true, DNSNames: []string{ServerName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	b, err := encodeIdentity(key, cert, a.cert)
	if err != nil {
		return err
	}
	return durable.Create(filepath.Join(dir, serverFile), b)
}

func sealKey(key *ecdsa.PrivateKey, o AuthorityOptions) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	plain := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	if len(o.Passphrase) == 0 {
		return plain, nil
	}
	defer clear(plain)
	return sealPlain(plain, o.Passphrase, o.ScryptWork)
}

func sealPlain(plain, passphrase []byte, work int) ([]byte, error) {
	to, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	if work > 0 {
		to.SetWorkFactor(work)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// OpenAuthority opens the authority in dir. It is opened to issue a certificate, and not kept.
func OpenAuthority(dir string, passphrase []byte) (*Authority, error) {
	cert, err := authorityCert(dir)
	if err != nil {
		return nil, err
	}
	b, err := durable.ReadPrivate(filepath.Join(dir, caKey), maxFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	defer func() { clear(b) }()
	if bytes.HasPrefix(b, []byte(ageMagic)) {
		if b, err = unsealKey(b, passphrase); err != nil {
			return nil, fmt.Errorf("%w: the passphrase of the vault's root does not open %s; where a change of it was cut short, do it again (meterseal vault passphrase)", ErrAuthority, caKey)
		}
	}
	key, _, _, err := decodeIdentity(b)
	if err != nil || key == nil {
		return nil, fmt.Errorf("%w: %s is damaged", ErrAuthority, caKey) // a decoder's error may hold a piece of it
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%w: %s does not belong to %s", ErrAuthority, caKey, caCert)
	}
	return &Authority{cert, key}, nil
}

func unsealKey(b, passphrase []byte) ([]byte, error) {
	id, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(b), id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxFile))
}

func authorityCert(dir string) (*x509.Certificate, error) {
	b, err := os.ReadFile(filepath.Join(dir, caCert))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	_, certs, _, err := decodeIdentity(b)
	if err != nil || len(certs) != 1 || !certs[0].IsCA {
		return nil, fmt.Errorf("%w: %s: want the certificate of an authority in PEM", ErrAuthority, caCert)
	}
	return certs[0], nil
}

// Request asks for a certificate.
type Request struct {
	Name  string
	Roles []Role
	// Public is the person's public key.
	Public crypto.PublicKey
	// Life is how long it counts; 0 is DefaultLife.
	Life time.Duration
}

// check refuses what no certificate is issued for.
func (r Request) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if len(r.Roles) == 0 {
		return fmt.Errorf("access: %s: want a role: %s", r.Name, Names(Roles(), "or"))
	}
	for _, role := range r.Roles {
		if _, err := ParseRole(string(role)); err != nil {
			return fmt.Errorf("access: %s: %w", r.Name, err)
		}
	}
	if r.Life < 0 || r.Life > MaxLife {
		return fmt.Errorf("access: %s: want a life of at most %d days", r.Name, MaxLife/(24*time.Hour))
	}
	if pub, ok := r.Public.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return fmt.Errorf("access: %s: want a public key on P-256", r.Name)
	}
	return nil
}

// issue signs a certificate. Nobody is let in by it before the store knows it.
func (a *Authority) issue(random io.Reader, now time.Time, r Request) (*x509.Certificate, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Life == 0 {
		r.Life = DefaultLife
	}
	roles := make([]string, 0, len(r.Roles))
	for _, role := range Roles() {
		if slices.Contains(r.Roles, role) {
			roles = append(roles, string(role))
		}
	}
	return sign(random, &x509.Certificate{
		Subject: pkix.Name{CommonName: r.Name, OrganizationalUnit: roles}, NotBefore: now.Add(-skew), NotAfter: now.Add(r.Life),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, r.Public, a.key)
}

func sign(random io.Reader, t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	var serial [16]byte
	if _, err := io.ReadFull(random, serial[:]); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x7F | 0x40 // positive, and never short
	t.SerialNumber = new(big.Int).SetBytes(serial[:])
	der, err := x509.CreateCertificate(random, t, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ServerTLS is how the central system meets its callers: TLS 1.3, and nobody without a certificate of the authority in dir.
func ServerTLS(dir string, now func() time.Time) (*tls.Config, error) {
	ca, err := authorityCert(dir)
	if err != nil {
		return nil, err
	}
	b, err := durable.ReadPrivate(filepath.Join(dir, serverFile), maxFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	defer clear(b)
	key, certs, _, err := decodeIdentity(b)
	if err != nil || key == nil || len(certs) == 0 {
		return nil, fmt.Errorf("%w: %s is damaged", ErrAuthority, serverFile)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Time: now,
		// A session that goes on would be let in by a certificate of before.
		SessionTicketsDisabled: true,
	}, nil
}
