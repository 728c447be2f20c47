package wrapper

import "io"

// firstRead is the size of the buffer a decoder starts with; it grows only as bytes arrive.
const firstRead = 128

// Decoder finds frames in a stream, however it is cut or merged. After an error the place of the next frame is
// unknown, so the decoder stays at that error.
type Decoder struct {
	buf     []byte // buf[start:end] has come and is not used yet
	start   int
	end     int
	maxAPDU int
	err     error
}

// NewDecoder returns a decoder that refuses APDUs longer than maxAPDU; 0 means [MaxAPDU].
func NewDecoder(maxAPDU int) *Decoder {
	if maxAPDU <= 0 || maxAPDU > MaxAPDU {
		maxAPDU = MaxAPDU
	}
	return &Decoder{maxAPDU: maxAPDU}
}

// reset empties the decoder for another stream. Of its memory it keeps at most limit bytes.
func (d *Decoder) reset(limit int) {
	clear(d.buf)
	if len(d.buf) > limit {
		d.buf = nil
	}
	d.start, d.end, d.err = 0, 0, nil
}

// Feed adds bytes that have come. When the caller has taken all frames with Next, what is left is less than one
// frame, so memory is bounded by the largest frame and the largest b.
func (d *Decoder) Feed(b []byte) {
	if d.err != nil {
		return
	}
	d.compact()
	if need := d.end + len(b); need > len(d.buf) {
		d.grow(need)
	}
	d.end += copy(d.buf[d.end:], b)
}

// Next returns the next whole frame, or false when more bytes are needed. The APDU is valid until the next Feed or
// ReadFrame.
func (d *Decoder) Next() (Frame, bool, error) {
	if d.err != nil {
		return Frame{}, false, d.err
	}
	f, size, err := parse(d.buf[d.start:d.end], d.maxAPDU)
	if err != nil {
		d.err, d.start, d.end = err, 0, 0
		return Frame{}, false, err
	}
	if size == 0 || size > d.end-d.start {
		return Frame{}, false, nil
	}
	d.start += size
	return f, true, nil
}

// ReadFrame reads from r until a frame is whole. An error of r leaves what has come in place, so that a read that
// was interrupted can be taken up again. The end of the stream is io.EOF between frames and io.ErrUnexpectedEOF
// within one.
func (d *Decoder) ReadFrame(r io.Reader) (Frame, error) {
	for empty := 0; ; {
		f, ok, err := d.Next()
		if ok || err != nil {
			return f, err
		}
		n, err := d.fill(r)
		switch {
		case n > 0:
			empty = 0 // an error that came with bytes comes again
		case err == io.EOF && d.end > d.start: //nolint:errorlint // io.Reader returns io.EOF itself
			return Frame{}, io.ErrUnexpectedEOF
		case err != nil:
			return Frame{}, err
		case empty == 100:
			return Frame{}, io.ErrNoProgress
		default:
			empty++
		}
	}
}

// fill reads once. Next has found no whole frame, so less than HeaderSize+maxAPDU bytes wait and there is room.
func (d *Decoder) fill(r io.Reader) (int, error) {
	d.compact()
	if len(d.buf)-d.end < firstRead/2 {
		d.grow(min(max(firstRead, 2*len(d.buf)), HeaderSize+d.maxAPDU))
	}
	n, err := r.Read(d.buf[d.end:])
	d.end += n
	return n, err
}

func (d *Decoder) compact() {
	if d.start > 0 {
		copy(d.buf, d.buf[d.start:d.end])
		d.start, d.end = 0, d.end-d.start
	}
}

func (d *Decoder) grow(size int) {
	if size <= len(d.buf) {
		return
	}
	buf := make([]byte, size)
	copy(buf, d.buf[:d.end])
	d.buf = buf
}
