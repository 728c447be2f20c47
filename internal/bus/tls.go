package bus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/meterseal/meterseal/internal/durable"
)

// Files of the IS's own certificate authority, in the directory given to InitTLS. Every concentrator gets a copy of
// CAFile; the others stay where they are.
const (
	CAFile         = "ca.pem"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
)

// The life of the certificates. The authority's private key is forgotten as soon as it has signed the one
// certificate there is: a new one means a new InitTLS and new copies of CAFile.
const (
	certificateLife = 20 * 365 * 24 * time.Hour
	certificateSkew = 24 * time.Hour
)

// InitTLS makes a certificate authority and the certificate of the bus server in dir, for this machine's loopback
// names and the host names and addresses given. It replaces nothing: files that are there are an error.
func InitTLS(dir string, now time.Time, rand io.Reader, hosts ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("bus tls: %w", err)
	}
	authority, err := newCertificate(rand, template(now, "Meterseal bus authority", nil), nil)
	if err != nil {
		return fmt.Errorf("bus tls: authority: %w", err)
	}
	server, err := newCertificate(rand, template(now, "Meterseal bus server", append([]string{"localhost", "127.0.0.1", "::1"}, hosts...)), authority)
	if err != nil {
		return fmt.Errorf("bus tls: server: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(server.key)
	if err != nil {
		return fmt.Errorf("bus tls: server key: %w", err)
	}
	defer clear(der)
	return errors.Join(
		writePEM(filepath.Join(dir, serverKeyFile), "PRIVATE KEY", der),
		writePEM(filepath.Join(dir, serverCertFile), "CERTIFICATE", server.cert.Raw),
		writePEM(filepath.Join(dir, CAFile), "CERTIFICATE", authority.cert.Raw),
	)
}

type certificate struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// template describes the authority when hosts is nil, else a server.
func template(now time.Time, name string, hosts []string) *x509.Certificate {
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-certificateSkew),
		NotAfter:              now.Add(certificateLife),
		BasicConstraintsValid: true,
	}
	if hosts == nil {
		t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
		return t
	}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

// newCertificate signs t with authority, or with its own key when there is none.
func newCertificate(rand io.Reader, t *x509.Certificate, authority *certificate) (*certificate, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, err
	}
	var serial [16]byte
	if _, err := io.ReadFull(rand, serial[:]); err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x7F | 0x40 // positive, and never short
	t.SerialNumber = new(big.Int).SetBytes(serial[:])
	parent := &certificate{cert: t, key: k}
	if authority != nil {
		parent = authority
	}
	der, err := x509.CreateCertificate(rand, t, parent.cert, k.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &certificate{cert: cert, key: k}, err
}

func writePEM(path, kind string, der []byte) error {
	if err := durable.Create(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})); err != nil {
		return fmt.Errorf("bus tls: %w", err)
	}
	return nil
}

// serverTLS reads what InitTLS wrote.
func serverTLS(dir string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, serverCertFile), filepath.Join(dir, serverKeyFile))
	if err != nil {
		return nil, fmt.Errorf("bus tls: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, nil
}

// clientTLS trusts the authority in the file and no other.
func clientTLS(caFile string) (*tls.Config, error) {
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("bus tls: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("bus tls: %s: want a certificate in PEM", caFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}
