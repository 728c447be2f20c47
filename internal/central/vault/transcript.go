package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/durable"
)

// TranscriptFile is the name of the transcript in the vault's directory.
const TranscriptFile = "vault.transcript"

const (
	transcriptSchema = "meterseal vault transcript 1"
	maxTranscript    = 256 << 10
)

// ErrTranscript is returned for a transcript that is not as its vault signed it.
var ErrTranscript = errors.New("vault: transcript: not as the vault signed it")

// Transcript says how a vault was made. It is signed with the key of the vault's audit log, and holds no secret.
type Transcript struct {
	Schema string    `json:"schema"`
	MadeAt time.Time `json:"made_at"`
	By     string    `json:"by"`
	Tool   string    `json:"tool"`
	// CeremonyHash is the SHA-256 of CeremonyFile, which is the file as it was reviewed.
	CeremonyHash string `json:"ceremony_sha256"`
	CeremonyFile string `json:"ceremony_file"`

	Vault  string      `json:"vault"` // its ID
	Name   string      `json:"name"`
	Tenant string      `json:"tenant"`
	Kind   string      `json:"kind"`
	Terms  []TermNames `json:"terms"`
	// Transport is the public key that files to the vault are encrypted to, TransportHash its SHA-256.
	Transport     string `json:"transport"`
	TransportHash string `json:"transport_sha256"`
	AuditKey      string `json:"audit_key"`
	// Sealed: a passphrase seals the root file, whose SHA-256 is RootHash.
	Sealed   bool   `json:"root_sealed"`
	RootHash string `json:"root_sha256"`
}

// TermNames are the public names of the two keys of one term of the root.
type TermNames struct {
	Term            uint32      `json:"term"`
	WrapCheckValue  CheckValue  `json:"wrap_check_value"`
	WrapFingerprint Fingerprint `json:"wrap_fingerprint"`
	MACCheckValue   CheckValue  `json:"mac_check_value"`
	MACFingerprint  Fingerprint `json:"mac_fingerprint"`
}

func (t rootTerm) names(term uint32) TermNames {
	return TermNames{
		Term: term, WrapCheckValue: t.wrap.CheckValue(), WrapFingerprint: t.wrap.Fingerprint(),
		MACCheckValue: t.mac.CheckValue(), MACFingerprint: t.mac.Fingerprint(),
	}
}

// WriteTranscript signs the transcript of a vault that is being made, and writes it into dir, over one that a making which
// did not finish has left. What the caller does not know is filled in: the schema and the hashes.
func WriteTranscript(dir string, signer *audit.Signer, t Transcript) error {
	t.Schema, t.AuditKey = transcriptSchema, signer.PublicKey()
	t.CeremonyHash, t.TransportHash = hashOf(t.CeremonyFile), hashOf(t.Transport)
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("transcript: %w", err)
	}
	signed, err := audit.SignText(signer, string(text)+"\n")
	if err != nil {
		return fmt.Errorf("transcript: %w", err)
	}
	return durable.Replace(filepath.Join(dir, TranscriptFile), signed)
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// ReadTranscript verifies a transcript against the audit key of its vault, as people have it from elsewhere; nil takes the
// key that the transcript itself names, which proves no more than that nobody has changed it who lacks that key.
func ReadTranscript(signed []byte, trusted audit.PublicKey) (Transcript, error) {
	var t Transcript
	if len(signed) > maxTranscript {
		return t, fmt.Errorf("%w: %d bytes, want at most %d", ErrTranscript, len(signed), maxTranscript)
	}
	if trusted == nil {
		text, _, _ := bytes.Cut(signed, []byte("\n\n"))
		if err := json.Unmarshal(text, &t); err != nil {
			return Transcript{}, fmt.Errorf("%w: it is none", ErrTranscript)
		}
		var err error
		if trusted, err = audit.ParsePublicKey(t.AuditKey); err != nil {
			return Transcript{}, fmt.Errorf("%w: it names no key", ErrTranscript)
		}
	}
	text, err := audit.OpenText(signed, trusted)
	if err != nil {
		return Transcript{}, fmt.Errorf("%w: another vault's key, or changed since", ErrTranscript)
	}
	t = Transcript{}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil || t.Schema != transcriptSchema {
		return Transcript{}, fmt.Errorf("%w: want schema %q", ErrTranscript, transcriptSchema)
	}
	return t, t.check(trusted)
}

// check holds the parts of a transcript against each other.
func (t Transcript) check(trusted audit.PublicKey) error {
	own, err := audit.ParsePublicKey(t.AuditKey)
	if err != nil || own.Name() != trusted.Name() || own.KeyHash() != trusted.KeyHash() {
		return fmt.Errorf("%w: it names another audit key", ErrTranscript)
	}
	if t.CeremonyHash != hashOf(t.CeremonyFile) || t.TransportHash != hashOf(t.Transport) {
		return fmt.Errorf("%w: a hash in it is not of what it says", ErrTranscript)
	}
	if _, err := ParseCeremony([]byte(t.CeremonyFile)); err != nil {
		return fmt.Errorf("%w: %w", ErrTranscript, err)
	}
	return nil
}

// Matches reports whether a vault is the one that was made: same ID, same audit key, same transport key, and the first
// term as it was, as long as the root still has it.
func (t Transcript) Matches(r Hold) error {
	if t.Vault != r.ID() || t.AuditKey != r.Signer().PublicKey() || t.Transport != r.Transport().String() {
		return fmt.Errorf("%w: it is of vault %s, this root is of vault %s", ErrTranscript, t.Vault, r.ID())
	}
	for _, now := range r.TermNames() {
		i := slices.IndexFunc(t.Terms, func(n TermNames) bool { return n.Term == now.Term })
		if i >= 0 && t.Terms[i] != now {
			return fmt.Errorf("%w: term %d of this root is another one", ErrTranscript, now.Term)
		}
	}
	return nil
}
