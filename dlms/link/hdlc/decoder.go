package hdlc

import "bytes"

// Decoder finds the frames in a stream, however it is cut, merged or damaged. After damage it looks for the next
// flag, first within the octets it took for the damaged frame, so that the frame after a damaged one is not lost.
type Decoder struct {
	buf     []byte // buf[start:] has come and is not used yet
	start   int
	damaged uint64
}

// Feed adds octets that have come. When the caller has taken all frames with Next, what is left is less than one
// frame (2,049 octets), so memory is bounded by that and the largest b.
func (d *Decoder) Feed(b []byte) {
	d.buf = append(d.buf[:copy(d.buf, d.buf[d.start:])], b...)
	d.start = 0
}

// Next returns the next good frame, or false when more octets are needed. Its Info is valid until the next Feed.
func (d *Decoder) Next() (Frame, bool) {
	for {
		i := bytes.IndexByte(d.buf[d.start:], Flag)
		if i < 0 {
			d.start = len(d.buf)
			return Frame{}, false
		}
		d.start += i
		rest := d.buf[d.start:]
		if len(rest) >= 2 && rest[1] == Flag { // flags fill the time between frames
			d.start++
			continue
		}
		f, size, err := scan(rest)
		if err != nil {
			d.start++
			d.damaged++
			continue
		}
		if size == 0 {
			return Frame{}, false
		}
		d.start += size - 1 // the closing flag may open the next frame
		return f, true
	}
}

// Pending reports whether a frame has begun and is not complete.
func (d *Decoder) Pending() bool { return len(d.buf)-d.start > 1 }

// Abandon gives up the frame that has begun, as after too long a pause within it. Frames within its octets may
// still be found.
func (d *Decoder) Abandon() {
	if d.Pending() {
		d.start++
		d.damaged++
	}
}

// Damaged counts the places at which a frame seemed to begin and did not hold.
func (d *Decoder) Damaged() uint64 { return d.damaged }
