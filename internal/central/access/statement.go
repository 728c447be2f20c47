package access

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrStatement is returned for the word of a person that does not count.
var ErrStatement = errors.New("access: statement")

// ErrTwo is returned where an operation lacks the word of two people.
var ErrTwo = errors.New("access: this takes the word of two different people")

// Statement is a person's word for an operation on a central system that does not run: signed with the key of the person's
// certificate, over the operation and its parameters. It can be checked by whoever has the certificate of the authority.
type Statement struct {
	Op Op `json:"operation"`
	// Params are the parameters in JSON.
	Params      json.RawMessage `json:"parameters"`
	By          string          `json:"by"`
	Reason      string          `json:"reason"`
	At          time.Time       `json:"at"`
	Until       time.Time       `json:"until"`
	Certificate string          `json:"certificate"`
	Signature   []byte          `json:"signature,omitempty"`
}

// digest is what is signed: all of it but the signature.
func (s Statement) digest() ([]byte, error) {
	s.Signature = nil
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("meterseal statement 1\n"), b...))
	return sum[:], nil
}

// State gives the word of an identity for an operation, for the next hour.
func (i *Identity) State(random io.Reader, now time.Time, op Op, params any, reason string) (s Statement, err error) {
	if reason == "" {
		return s, fmt.Errorf("%w: want a reason, for the record", ErrStatement)
	}
	if rule := rules[op]; !anyOf(i.Roles, rule.Roles) {
		return s, fmt.Errorf("%w: %s is %s; to %s takes %s", ErrDenied, i.Name, orNobody(i.Roles), rule.Does, Names(rule.Roles, "or"))
	}
	now = now.UTC().Truncate(time.Second)
	s = Statement{Op: op, By: i.Name, Reason: reason, At: now, Until: now.Add(ApprovalTerm), Certificate: encodeCert(i.cert)}
	if s.Params, err = json.Marshal(params); err != nil {
		return s, err
	}
	sum, err := s.digest()
	if err != nil {
		return s, err
	}
	s.Signature, err = ecdsa.SignASN1(random, i.key(), sum)
	return s, err
}

// Panel checks statements.
type Panel struct {
	ca  *x509.Certificate
	now time.Time
	// known finds a certificate in the store; nil if it does not know it.
	known func(ctx context.Context, fingerprint string) (*Certificate, error)
}

// NewPanel makes one, of the authority in dir and of the certificates that the store knows to be revoked.
func NewPanel(dir string, store interface {
	Certificate(ctx context.Context, fingerprint string) (*Certificate, error)
}, now time.Time,
) (Panel, error) {
	ca, err := authorityCert(dir)
	if err != nil {
		return Panel{}, fmt.Errorf("%w: %s names nobody who could approve", err, filepath.Join(dir, caCert))
	}
	return Panel{ca, now, store.Certificate}, nil
}

// Check tells whose word a statement is, for this operation with these parameters.
func (p Panel) Check(ctx context.Context, s Statement, op Op, params any) (Caller, error) {
	want, err := json.Marshal(params)
	if err != nil {
		return Caller{}, err
	}
	var have bytes.Buffer
	if json.Compact(&have, s.Params) != nil || s.Op != op || HashOf(op, have.Bytes()) != HashOf(op, want) {
		return Caller{}, fmt.Errorf("%w: of %s: it is for another operation, or for other parameters", ErrStatement, s.By)
	}
	cert, err := p.certificate(s)
	if err != nil {
		return Caller{}, err
	}
	name, roles, err := bearer(cert)
	if err != nil || name != s.By {
		return Caller{}, fmt.Errorf("%w: it does not say whose it is", ErrStatement)
	}
	if s.Until.Sub(s.At) > ApprovalTerm || !p.now.Before(s.Until) || p.now.Before(s.At.Add(-clocksApart)) {
		return Caller{}, fmt.Errorf("%w: of %s: it counted from %s until %s", ErrStatement, name, s.At.Format(time.RFC3339), s.Until.Format(time.RFC3339))
	}
	row, err := p.known(ctx, Fingerprint(cert))
	if err != nil {
		return Caller{}, err
	}
	if row != nil && !row.RevokedAt.IsZero() {
		return Caller{}, fmt.Errorf("%w: of %s: the certificate was revoked at %s", ErrStatement, name, row.RevokedAt.Format(time.RFC3339))
	}
	if rule := rules[op]; !anyOf(roles, rule.Roles) {
		return Caller{}, fmt.Errorf("%w: %s is %s; to %s takes %s", ErrDenied, name, orNobody(roles), rule.Does, Names(rule.Roles, "or"))
	}
	return Caller{Name: name, Roles: roles, Fingerprint: Fingerprint(cert)}, nil
}

// certificate checks chain and signature of a statement.
func (p Panel) certificate(s Statement) (*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(s.Certificate))
	if block == nil || block.Type != pemCert || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("%w: want one certificate in PEM", ErrStatement)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.ca)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: p.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, fmt.Errorf("%w: of %s: the authority of this central system did not issue the certificate, or it has ended: %w", ErrStatement, s.By, err)
	}
	sum, err := s.digest()
	if err != nil {
		return nil, err
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(pub, sum, s.Signature) {
		return nil, fmt.Errorf("%w: of %s: it was changed, or signed with another key", ErrStatement, s.By)
	}
	return cert, nil
}

// Two takes statements as the word of two different people, or says what is wrong with them.
func (p Panel) Two(ctx context.Context, op Op, params any, statements []Statement) ([]Caller, error) {
	var people []Caller
	var errs []error
	for _, s := range statements {
		c, err := p.Check(ctx, s, op, params)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(people, func(o Caller) bool { return o.Name == c.Name }) {
			people = append(people, c)
		}
	}
	if len(people) < 2 {
		return nil, errors.Join(append([]error{fmt.Errorf("%w: to %s takes %s; %d of 2 count", ErrTwo, rules[op].Does, Names(rules[op].Roles, "or"), len(people))}, errs...)...)
	}
	return people, nil
}
