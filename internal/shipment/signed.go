package shipment

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Errors of a whole file.
var (
	// ErrFile is returned for what is not a file of this package at all, or was cut.
	ErrFile = errors.New("not a whole shipment or transfer file")
	// ErrSignature is returned for a file that was altered after it was signed, or is signed by somebody else.
	ErrSignature = errors.New("the signature does not verify: the file was altered, or its signer is another one")
)

const (
	// maxLine bounds a line, in bytes. A row of a shipment has about 500.
	maxLine = 1024
	// maxSize bounds a file, in bytes.
	maxSize = MaxCount * maxLine
)

// The last line is this, the signature in Base64 and the end: 105 bytes with nothing left open.
const (
	trailerBegin = `{"signature":"`
	trailerEnd   = "\"}\n"
	trailerSize  = len(trailerBegin) + 88 + len(trailerEnd)
)

// signedMessage is what is signed: a text that says what the signature is for, and SHA-256 over every byte before the last
// line. (Ed25519 reads its message twice, and a file may be large.)
func signedMessage(purpose string, sum []byte) []byte { return append([]byte(purpose+"\n"), sum...) }

// signedWriter writes lines and, in the end, their signature.
type signedWriter struct {
	out     *bufio.Writer
	sum     hash.Hash
	maxLine int
}

func newSignedWriter(w io.Writer, maxLine int) *signedWriter {
	return &signedWriter{bufio.NewWriterSize(w, 64<<10), sha256.New(), maxLine}
}

func (s *signedWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= s.maxLine {
		return fmt.Errorf("a line of %d bytes, want less than %d", len(b), s.maxLine)
	}
	b = append(b, '\n')
	s.sum.Write(b)
	_, err = s.out.Write(b)
	return err
}

func (s *signedWriter) end(purpose string, sign func([]byte) ([]byte, error)) error {
	sig, err := sign(signedMessage(purpose, s.sum.Sum(nil)))
	if err != nil {
		return err
	}
	if len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("signature: want %d bytes, got %d", ed25519.SignatureSize, len(sig))
	}
	if _, err := s.out.WriteString(trailerBegin + base64.StdEncoding.EncodeToString(sig) + trailerEnd); err != nil {
		return err
	}
	return s.out.Flush()
}

// spool is a file that was put on the disk and not been acted on yet.
type spool struct {
	file    *os.File
	named   bool
	end     int64 // of the lines, where the last one begins
	lines   int   // before the last one
	sum     []byte
	sig     []byte
	first   []byte
	maxLine int
}

// newSpool copies r into a file of its own in dir, without a name where the system allows that, and looks at its form. The
// caller closes it.
func newSpool(dir string, r io.Reader, maxLine int) (*spool, error) {
	f, err := os.CreateTemp(dir, "incoming-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	// Without a name nothing is left behind by a crash. Where an open file cannot be removed, Close does it.
	s := &spool{file: f, named: os.Remove(f.Name()) != nil, maxLine: maxLine}
	if err := s.fill(r); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close lets the copy go.
func (s *spool) Close() error {
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}

func (s *spool) fill(r io.Reader) error {
	n, err := io.Copy(s.file, io.LimitReader(r, maxSize+1))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if n > maxSize {
		return fmt.Errorf("%w: longer than %d bytes", ErrFile, int64(maxSize))
	}
	if s.end = n - int64(trailerSize); s.end <= 0 {
		return fmt.Errorf("%w: %d bytes", ErrFile, n)
	}
	if err := s.trailer(); err != nil {
		return err
	}
	return s.scan()
}

// trailer reads the last line, in its one form: a line that could be written in two ways would be a byte that can be changed.
func (s *spool) trailer() error {
	last := make([]byte, trailerSize)
	if _, err := s.file.ReadAt(last, s.end); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	rest, ok := bytes.CutPrefix(last, []byte(trailerBegin))
	b64, more := bytes.CutSuffix(rest, []byte(trailerEnd))
	if !ok || !more {
		return fmt.Errorf("%w: it does not end with its signature", ErrFile)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(string(b64))
	if err != nil || len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: it does not end with its signature", ErrFile)
	}
	s.sig = sig
	return nil
}

// scan hashes the lines, counts them and takes the first.
func (s *spool) scan() error {
	h := sha256.New()
	in := io.TeeReader(io.NewSectionReader(s.file, 0, s.end), h)
	buf, last, length := make([]byte, 128<<10), byte(0), 0
	for {
		n, err := in.Read(buf)
		for part := buf[:n]; len(part) > 0; {
			line, rest, ended := bytes.Cut(part, []byte{'\n'})
			if s.lines == 0 && len(s.first) < s.maxLine {
				s.first = append(s.first, line[:min(len(line), s.maxLine-len(s.first))]...)
			}
			if length += len(line); length >= s.maxLine {
				return fmt.Errorf("%w: line %d is longer than %d bytes", ErrFile, s.lines+1, s.maxLine)
			}
			if ended {
				s.lines, length = s.lines+1, 0
			}
			last, part = part[len(part)-1], rest
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if last != '\n' {
		return fmt.Errorf("%w: its last row has no end", ErrFile)
	}
	s.sum = h.Sum(nil)
	return nil
}

// verify checks the signature over all of it.
func (s *spool) verify(purpose string, public []byte) error {
	if len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, signedMessage(purpose, s.sum), s.sig) {
		return ErrSignature
	}
	return nil
}

// body returns what stands between the first line and the last.
func (s *spool) body() *bufio.Reader {
	from := int64(len(s.first)) + 1
	return bufio.NewReaderSize(io.NewSectionReader(s.file, from, s.end-from), 64<<10)
}

func decodeStrictly(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("two values on a line")
	}
	return nil
}
