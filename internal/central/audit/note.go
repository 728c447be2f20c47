package audit

import (
	"encoding/base64"
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// ErrSignature is returned for a text that the key did not sign.
var ErrSignature = errors.New("audit: not signed by this key, or changed since")

// SignText signs a text of whole lines with the key that signs checkpoints, for a file that goes with the log.
func SignText(s *Signer, text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, s) }

// OpenText returns a text that SignText has signed, or ErrSignature.
func OpenText(signed []byte, trusted PublicKey) (string, error) {
	n, err := openNote(signed, trusted)
	if err != nil {
		return "", ErrSignature
	}
	return n.Text, nil
}

// openNote opens a signed note of which there is one form: base64 has bits at its end that mean nothing, and a file that
// was changed in them would verify too.
func openNote(signed []byte, trusted PublicKey) (*note.Note, error) {
	n, err := note.Open(signed, note.VerifierList(trusted))
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return nil, ErrSignature
		}
	}
	return n, nil
}
