package audit

import (
	"errors"

	"golang.org/x/mod/sumdb/note"
)

// ErrSignature is returned for a text that the key did not sign.
var ErrSignature = errors.New("audit: not signed by this key, or changed since")

// SignText signs a text of whole lines with the key that signs checkpoints, for a file that goes with the log.
func SignText(s *Signer, text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, s) }

// OpenText returns a text that SignText has signed, or ErrSignature.
func OpenText(signed []byte, trusted PublicKey) (string, error) {
	n, err := note.Open(signed, note.VerifierList(trusted))
	if err != nil {
		return "", ErrSignature
	}
	return n.Text, nil
}
