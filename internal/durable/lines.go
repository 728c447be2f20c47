package durable

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// ErrDamaged is returned for a file with a whole line that does not verify.
var ErrDamaged = errors.New("damaged")

// Bounds of a file of lines.
const (
	maxLine   = 64 << 10
	maxFile   = 64 << 20
	checkSize = 9 // eight hexadecimal digits and a space
)

// Lines is a file that grows by lines, each with its CRC-32C in front. A line never holds a line feed. The file is open only
// while it is written: a concentrator has thousands of them.
type Lines struct {
	mu   sync.Mutex
	path string
	size int64
	err  error // a write that failed leaves the end of the file unknown: nothing more is appended
}

// Opened is what OpenLines found.
type Opened struct {
	*Lines
	// Content are the lines, without their checks.
	Content [][]byte
	// Torn says that the end of the file was cut off: a line that was being written when the power went, or one
	// whose end was damaged later.
	Torn bool
}

// OpenLines opens or makes the file at path. Where a whole line does not verify it returns ErrDamaged: what the
// file said there is lost.
func OpenLines(path string) (Opened, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Opened{}, err
	}
	o := Opened{Lines: &Lines{path: path}}
	if err := o.load(f); err != nil {
		return Opened{}, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return o, f.Close()
}

func (o *Opened) load(f *os.File) error {
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxFile {
		return fmt.Errorf("%w: longer than %d bytes", ErrDamaged, maxFile)
	}
	if o.Content, o.size, err = parse(b); err != nil {
		return err
	}
	if o.Torn = o.size < int64(len(b)); o.Torn {
		return errors.Join(f.Truncate(o.size), f.Sync())
	}
	return nil
}

// parse returns the whole lines and their size.
func parse(b []byte) (content [][]byte, size int64, err error) {
	for {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			return content, size, nil
		}
		c, ok := verify(line)
		if !ok {
			return nil, 0, fmt.Errorf("%w: line %d", ErrDamaged, len(content)+1)
		}
		content, size, b = append(content, c), size+int64(len(line))+1, rest
	}
}

func verify(line []byte) (content []byte, ok bool) {
	if len(line) < checkSize || len(line) > checkSize+maxLine {
		return nil, false
	}
	content = line[checkSize:]
	return content, string(line[:checkSize]) == check(content)
}

func check(content []byte) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	return hex.EncodeToString(sum[:]) + " "
}

// Append adds a line, durably.
func (l *Lines) Append(content []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if len(content) > maxLine || bytes.IndexByte(content, '\n') >= 0 {
		return fmt.Errorf("append to %s: want one line of at most %d bytes", l.path, maxLine)
	}
	line := framed(nil, content)
	if err := l.write(line); err != nil {
		l.err = fmt.Errorf("append: %w", err)
		return l.err
	}
	l.size += int64(len(line))
	return nil
}

// errOther is for a file that is not the one that was read: its end is somewhere else.
var errOther = errors.New("the file was replaced, or written by another process")

func (l *Lines) write(line []byte) error {
	f, err := os.OpenFile(l.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil && end != l.size {
		err = errOther
	}
	if err == nil {
		_, err = f.Write(line)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func framed(dst, content []byte) []byte {
	dst = append(dst, check(content)...)
	return append(append(dst, content...), '\n')
}

// Size returns the length of the file in bytes.
func (l *Lines) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Close refuses all that comes after it.
func (l *Lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = os.ErrClosed
	}
	return nil
}

// ReplaceLines puts a file of these lines at path, in place of any that is there.
func ReplaceLines(path string, content ...[]byte) error {
	if _, err := WriteLines(path, content...); err != nil {
		return err
	}
	return sure(path)
}

// WriteLines is ReplaceLines for many files of one directory: the name is durable when the caller has called SyncDir. It
// returns the file to go on with.
func WriteLines(path string, content ...[]byte) (*Lines, error) {
	var b []byte
	for _, c := range content {
		b = framed(b, c)
	}
	return &Lines{path: path, size: int64(len(b))}, put(path, b, anyway)
}
