package hdlc

import "fmt"

// Standard values, in force where a side names none (GB 8.4.5.3).
const (
	DefaultInfo   = 128
	DefaultWindow = 1
	maxWindow     = 7
)

const (
	paramFormat = 0x81
	paramGroup  = 0x80

	paramTransmitInfo   = 0x05
	paramReceiveInfo    = 0x06
	paramTransmitWindow = 0x07
	paramReceiveWindow  = 0x08
)

// Params are the limits that SNRM proposes and UA settles (GB 8.4.5.3), each seen from the side that has them. In a
// configuration 0 means the default.
type Params struct {
	// TransmitInfo and ReceiveInfo are the longest information fields, 1 to 2030 octets. Default 128.
	TransmitInfo, ReceiveInfo int
	// TransmitWindow and ReceiveWindow are how many I frames may be under way, 1 to 7. Default 1.
	TransmitWindow, ReceiveWindow int
}

func standardParams() Params { return Params{DefaultInfo, DefaultInfo, DefaultWindow, DefaultWindow} }

// withDefaults fills the gaps and refuses what the standard does not allow.
func (p Params) withDefaults() (Params, error) {
	for _, v := range []struct {
		name         string
		value        *int
		normal, most int
	}{
		{"transmit information field", &p.TransmitInfo, DefaultInfo, MaxInfo},
		{"receive information field", &p.ReceiveInfo, DefaultInfo, MaxInfo},
		{"transmit window", &p.TransmitWindow, DefaultWindow, maxWindow},
		{"receive window", &p.ReceiveWindow, DefaultWindow, maxWindow},
	} {
		if *v.value == 0 {
			*v.value = v.normal
		}
		if *v.value < 1 || *v.value > v.most {
			return p, fmt.Errorf("hdlc: %s: want 1 to %d, got %d", v.name, v.most, *v.value)
		}
	}
	return p, nil
}

// settle limits what p wants by what the other side can: it receives what this side transmits, and the reverse.
func (p Params) settle(peer Params) Params {
	return Params{
		TransmitInfo:   min(p.TransmitInfo, peer.ReceiveInfo),
		ReceiveInfo:    min(p.ReceiveInfo, peer.TransmitInfo),
		TransmitWindow: min(p.TransmitWindow, peer.ReceiveWindow),
		ReceiveWindow:  min(p.ReceiveWindow, peer.TransmitWindow),
	}
}

// append appends the information field of SNRM and UA.
func (p Params) append(dst []byte) []byte {
	dst = append(dst, paramFormat, paramGroup, 0)
	from := len(dst)
	dst = appendInfoParam(dst, paramTransmitInfo, p.TransmitInfo)
	dst = appendInfoParam(dst, paramReceiveInfo, p.ReceiveInfo)
	dst = append(dst, paramTransmitWindow, 4, 0, 0, 0, byte(p.TransmitWindow))
	dst = append(dst, paramReceiveWindow, 4, 0, 0, 0, byte(p.ReceiveWindow))
	dst[from-1] = byte(len(dst) - from)
	return dst
}

func appendInfoParam(dst []byte, id byte, v int) []byte {
	if v > 0xFF {
		return append(dst, id, 2, byte(v>>8), byte(v))
	}
	return append(dst, id, 1, byte(v))
}

// parseParams reads the information field of SNRM or UA. Nothing is all defaults; a parameter that is not known,
// and what follows the group (user data), are passed over.
func parseParams(b []byte) (Params, error) {
	p := standardParams()
	if len(b) == 0 {
		return p, nil
	}
	if len(b) < 3 || b[0] != paramFormat || b[1] != paramGroup || int(b[2]) > len(b)-3 {
		return p, fmt.Errorf("hdlc: parameters: %w: want 81 80 and the length of what follows, got % x", ErrMalformed, b[:min(len(b), 3)])
	}
	for b = b[3 : 3+int(b[2])]; len(b) > 0; {
		if len(b) < 2 || int(b[1]) > len(b)-2 {
			return p, fmt.Errorf("hdlc: parameters: %w: cut short", ErrMalformed)
		}
		id, value := b[0], b[2:2+int(b[1])]
		b = b[2+len(value):]
		if err := p.set(id, value); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Params) set(id byte, value []byte) error {
	to, most := (*int)(nil), MaxInfo
	switch id {
	case paramTransmitInfo:
		to = &p.TransmitInfo
	case paramReceiveInfo:
		to = &p.ReceiveInfo
	case paramTransmitWindow:
		to, most = &p.TransmitWindow, maxWindow
	case paramReceiveWindow:
		to, most = &p.ReceiveWindow, maxWindow
	default:
		return nil
	}
	if len(value) < 1 || len(value) > 4 {
		return fmt.Errorf("hdlc: parameter %d: %w: want 1 to 4 bytes, got %d", id, ErrMalformed, len(value))
	}
	n := uint32(0)
	for _, o := range value {
		n = n<<8 | uint32(o)
	}
	if n == 0 {
		return fmt.Errorf("hdlc: parameter %d: %w: want at least 1, got 0", id, ErrMalformed)
	}
	*to = int(min(n, uint32(most))) // more than the standard allows is no use to either side
	return nil
}
