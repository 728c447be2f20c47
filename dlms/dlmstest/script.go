package dlmstest

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"
)

// Pass delivers the frame as it is.
func Pass(f Frame) []Frame { return []Frame{f} }

// Drop delivers nothing.
func Drop(Frame) []Frame { return nil }

// Repeat delivers the frame twice.
func Repeat(f Frame) []Frame { return []Frame{f, f} }

// Delay delivers the frame after d.
func Delay(d time.Duration) Script {
	return func(f Frame) []Frame {
		f.After += d
		return []Frame{f}
	}
}

// Alter inverts one bit, counted from the first bit of the frame; a number beyond the end starts over.
func Alter(bit int) Script {
	return func(f Frame) []Frame {
		if len(f.APDU) == 0 {
			return []Frame{f}
		}
		bit := bit % (8 * len(f.APDU))
		f.APDU = bytes.Clone(f.APDU)
		f.APDU[bit/8] ^= 0x80 >> (bit % 8)
		return []Frame{f}
	}
}

// Truncate delivers the first n bytes.
func Truncate(n int) Script {
	return func(f Frame) []Frame {
		f.APDU = f.APDU[:min(n, len(f.APDU))]
		return []Frame{f}
	}
}

// Replace delivers another APDU instead.
func Replace(apdu []byte) Script {
	return func(f Frame) []Frame {
		f.APDU = apdu
		return []Frame{f}
	}
}

// On does something to frame n in one direction and passes the rest.
func On(dir Direction, n int, do Script) Script {
	return func(f Frame) []Frame {
		if f.Dir == dir && f.N == n {
			return do(f)
		}
		return Pass(f)
	}
}

// From does something to frame n and all later ones in one direction and passes the rest.
func From(dir Direction, n int, do Script) Script {
	return func(f Frame) []Frame {
		if f.Dir == dir && f.N >= n {
			return do(f)
		}
		return Pass(f)
	}
}

// Reorder delivers frame n in one direction after the frame that follows it. When none follows it is lost.
func Reorder(dir Direction, n int) Script {
	var held []Frame
	return func(f Frame) []Frame {
		switch {
		case f.Dir != dir:
			return Pass(f)
		case f.N == n:
			held = []Frame{f}
			return nil
		}
		out := append([]Frame{f}, held...)
		held = nil
		return out
	}
}

// Replay delivers frame old once more in front of frame n of the same direction.
func Replay(dir Direction, n, old int) Script {
	var kept []Frame
	return func(f Frame) []Frame {
		if f.Dir == dir && f.N == old {
			kept = []Frame{f}
		}
		if f.Dir == dir && f.N == n {
			return append(slices.Clone(kept), f)
		}
		return Pass(f)
	}
}

// Pipe gives what each script delivers to the next one.
func Pipe(scripts ...Script) Script {
	return func(f Frame) []Frame {
		frames := []Frame{f}
		for _, s := range scripts {
			var next []Frame
			for _, f := range frames {
				next = append(next, s(f)...)
			}
			frames = next
		}
		return frames
	}
}

// Chances are the probabilities, from 0 to 1, with which a seeded middle does what it does to each frame. Their sum
// is at most 1; the rest passes.
type Chances struct {
	// Drop, Repeat, Alter, Delay, Reorder and Replay are the probabilities.
	Drop, Repeat, Alter, Delay, Reorder, Replay float64
	// MaxDelay bounds a delay.
	MaxDelay time.Duration
}

// maxKept bounds how many old frames a seeded middle can replay.
const maxKept = 64

// Seeded is a middle that acts by chance. The same seed and the same frames give the same deeds.
func Seeded(seed uint64, c Chances) Script {
	s := &seeded{c: c, rand: rand.New(rand.NewPCG(seed, 0x4d53))}
	return s.act
}

type seeded struct {
	c    Chances
	rand *rand.Rand
	kept []Frame
	held []Frame
}

func (s *seeded) act(f Frame) []Frame {
	out := s.choose(f)
	if len(s.kept) == maxKept {
		s.kept = s.kept[1:]
	}
	s.kept = append(s.kept, f)
	return out
}

func (s *seeded) choose(f Frame) []Frame {
	p := s.rand.Float64()
	is := func(chance float64) bool {
		p -= chance
		return p < 0
	}
	c := s.c
	switch {
	case is(c.Drop):
		return nil
	case is(c.Repeat):
		return Repeat(f)
	case is(c.Alter):
		return Alter(s.rand.IntN(8*len(f.APDU) + 1))(f)
	case is(c.Delay):
		return Delay(time.Duration(s.rand.Int64N(int64(c.MaxDelay) + 1)))(f)
	case is(c.Reorder):
		s.held = append(s.held, f)
		return nil
	case is(c.Replay) && len(s.kept) > 0:
		return []Frame{s.kept[s.rand.IntN(len(s.kept))], f}
	}
	out := append([]Frame{f}, s.held...)
	s.held = nil
	return out
}
