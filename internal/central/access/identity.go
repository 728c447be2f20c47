package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/durable"
)

// ErrIdentity is returned where a certificate to go by is not there, or is none.
var ErrIdentity = errors.New("access: certificate")

// Identity is a person's certificate with its private key, and the authority that the central system is known by. It
// prints nothing of the key.
type Identity struct {
	Name     string
	Roles    []Role
	NotAfter time.Time
	cert, ca *x509.Certificate
	key      func() *ecdsa.PrivateKey // in a closure, which reflection does not see into
}

// String names it.
func (i *Identity) String() string {
	return fmt.Sprintf("%s (%s), until %s", i.Name, Names(i.Roles, "and"), i.NotAfter.Format(time.DateOnly))
}

// Format prints String for every verb.
func (i *Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, i.String()) }

// Fingerprint is that of its certificate.
func (i *Identity) Fingerprint() string { return Fingerprint(i.cert) }

// NewKey makes a person's key.
func NewKey(random io.Reader) (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), random)
}

const publicPrefix = "meterseal-person1:"

// PublicText is a person's public key in one line.
func PublicText(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(der), nil
}

// ParsePublic reads PublicText.
func ParsePublic(s string) (crypto.PublicKey, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), publicPrefix)
	der, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(der) > maxFile {
		return nil, fmt.Errorf("public key: want %sBASE64", publicPrefix)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if k, ok := pub.(*ecdsa.PublicKey); err != nil || !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("public key: want one on P-256")
	}
	return pub, nil
}

// Issued is a certificate and the authority that issued it, as they travel: in PEM.
type Issued struct {
	Name        string    `json:"name"`
	Roles       []Role    `json:"roles"`
	Fingerprint string    `json:"fingerprint"`
	NotAfter    time.Time `json:"not_after"`
	Certificate string    `json:"certificate"`
	Authority   string    `json:"authority"`
}

// Identity joins it with its private key.
func (i Issued) Identity(key *ecdsa.PrivateKey) (*Identity, error) {
	_, certs, _, err := decodeIdentity([]byte(i.Certificate + i.Authority))
	if err != nil || len(certs) != 2 {
		return nil, fmt.Errorf("%w: want one and its authority", ErrIdentity)
	}
	return newIdentity(key, certs)
}

// PersonFile is where an identity is kept on the machine of the central system.
func PersonFile(data, name string) string { return filepath.Join(data, Dir, name+".pem") }

// Write writes the identity into a new file that its owner alone can read.
func (i *Identity) Write(path string) error {
	b, err := encodeIdentity(i.key(), i.cert, i.ca)
	if err != nil {
		return err
	}
	defer clear(b)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if err := durable.Create(path, b); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return nil
}

// WriteKey keeps a key of which the certificate is still to come, in a new file.
func WriteKey(path string, key *ecdsa.PrivateKey) error {
	b, err := encodeIdentity(key)
	if err != nil {
		return err
	}
	defer clear(b)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return durable.Create(path, b)
}

// ReadKey reads what WriteKey wrote.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := durable.ReadPrivate(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	defer clear(b)
	key, _, _, err := decodeIdentity(b)
	if err != nil || key == nil {
		return nil, fmt.Errorf("%w: %s: want a private key in PEM", ErrIdentity, path)
	}
	return key, nil
}

// LoadIdentity reads an identity from its file.
func LoadIdentity(path string) (*Identity, error) {
	b, err := durable.ReadPrivate(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	defer clear(b)
	key, certs, _, err := decodeIdentity(b)
	if err != nil || key == nil || len(certs) != 2 {
		return nil, fmt.Errorf("%w: %s: want a private key, a certificate and its authority in PEM", ErrIdentity, path)
	}
	i, err := newIdentity(key, certs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

func newIdentity(key *ecdsa.PrivateKey, certs []*x509.Certificate) (*Identity, error) {
	name, roles, err := bearer(certs[0])
	if err != nil {
		return nil, err
	}
	if pub, ok := certs[0].PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%w: of another key", ErrIdentity)
	}
	return &Identity{Name: name, Roles: roles, NotAfter: certs[0].NotAfter, cert: certs[0], ca: certs[1], key: func() *ecdsa.PrivateKey { return key }}, nil
}

// FindIdentity finds the identity to go by. As is a name, of a file in the people directory of the data directory, or a
// path. Without one it is own, the caller's name on this machine, or else the only one that is there.
func FindIdentity(data, as, own string) (*Identity, error) {
	dir := filepath.Join(data, Dir)
	switch {
	case strings.Contains(as, "/") || strings.HasSuffix(as, ".pem"):
		return LoadIdentity(as)
	case as != "":
		return LoadIdentity(PersonFile(data, as))
	}
	here, err := identities(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case slices.Contains(here, own):
		return LoadIdentity(PersonFile(data, own))
	case len(here) == 1:
		return LoadIdentity(PersonFile(data, here[0]))
	case len(here) == 0:
		return nil, fmt.Errorf("%w: none in %s: name one with --as, or make one: meterseal central init, meterseal central people add", ErrIdentity, dir)
	}
	return nil, fmt.Errorf("%w: say as whom, --as or METERSEAL_AS: %s", ErrIdentity, strings.Join(here, ", "))
}

// HasPeople reports whether somebody's certificate is in a data directory.
func HasPeople(data string) (bool, error) {
	here, err := identities(filepath.Join(data, Dir))
	return len(here) > 0, err
}

// identities lists the names of those in a directory.
func identities(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".pem"); ok && CheckName(name) == nil {
			out = append(out, name)
		}
	}
	return out, nil
}

// ClientTLS is how a person calls the central system.
func (i *Identity) ClientTLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(i.ca)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key()}},
		RootCAs:      pool, ServerName: ServerName, MinVersion: tls.VersionTLS13,
	}
}

// bearer reads who a certificate names.
func bearer(c *x509.Certificate) (name string, roles []Role, err error) {
	name = c.Subject.CommonName
	if err := CheckName(name); err != nil || c.IsCA || !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return "", nil, fmt.Errorf("%w: it names no person", ErrIdentity)
	}
	for _, s := range c.Subject.OrganizationalUnit {
		r, err := ParseRole(s)
		if err != nil {
			return "", nil, fmt.Errorf("%w: %s: %w", ErrIdentity, name, err)
		}
		roles = append(roles, r)
	}
	return name, roles, nil
}

func encodeIdentity(key *ecdsa.PrivateKey, certs ...*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	out := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw})...)
	}
	return out, nil
}

// decodeIdentity reads a private key, if there is one, and certificates.
func decodeIdentity(b []byte) (key *ecdsa.PrivateKey, certs []*x509.Certificate, rest []byte, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return key, certs, b, nil
		}
		switch block.Type {
		case pemKey:
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			clear(block.Bytes)
			own, ok := k.(*ecdsa.PrivateKey)
			if err != nil || !ok || key != nil {
				return nil, nil, nil, fmt.Errorf("%w: want one private key on P-256", ErrIdentity)
			}
			key = own
		case pemCert:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("%w: %w", ErrIdentity, err)
			}
			certs = append(certs, c)
		default:
			return nil, nil, nil, fmt.Errorf("%w: unexpected %q", ErrIdentity, block.Type)
		}
	}
}
