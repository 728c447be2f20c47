package mbus

// Decoder finds the frames in a stream, however it is cut, merged or damaged. After damage it looks for the next
// start within the octets it took for the damaged frame, so that the frame after a damaged one is not lost.
// Acknowledges are found only where a frame is awaited: 0xE5 also occurs within what follows damage.
type Decoder struct {
	buf     []byte // buf[start:] has come and is not used yet
	start   int
	damaged uint64
	lost    bool // the last octets belonged to no frame
}

// Feed adds octets that have come. When the caller has taken all frames with Next, what is left is less than one
// frame (261 octets), so memory is bounded by that and the largest b.
func (d *Decoder) Feed(b []byte) {
	d.buf = append(d.buf[:copy(d.buf, d.buf[d.start:])], b...)
	d.start = 0
}

// Next returns the next good frame, or false when more octets are needed. Its Data is valid until the next Feed.
func (d *Decoder) Next() (Frame, bool) {
	for d.start < len(d.buf) {
		f, size, err := scan(d.buf[d.start:])
		switch {
		case err != nil, d.lost && f.Kind == KindAck:
			d.skip()
		case size == 0:
			return Frame{}, false
		default:
			d.start += size
			d.lost = false
			return f, true
		}
	}
	return Frame{}, false
}

// skip passes over one octet that begins no frame, and counts a run of them once.
func (d *Decoder) skip() {
	if !d.lost {
		d.damaged++
	}
	d.lost = true
	d.start++
}

// Pending reports whether a frame has begun and is not complete.
func (d *Decoder) Pending() bool { return d.start < len(d.buf) }

// Abandon gives up the frame that has begun, as after a pause on the line, which ends a frame (EN 13757-2, 5.3).
// Frames within its octets may still be found.
func (d *Decoder) Abandon() {
	if d.Pending() {
		d.skip()
	}
}

// Damaged counts the runs of octets that belonged to no frame.
func (d *Decoder) Damaged() uint64 { return d.damaged }
