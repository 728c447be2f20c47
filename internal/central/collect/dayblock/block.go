// Package dayblock packs one day of one channel of one meter into a compressed block. It stands apart from what
// collects and stores such blocks, so that its decoder can be fuzzed without a broker.
package dayblock

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// MaxValues is the most that a block holds: a day in the shortest capture period of 1 minute.
const MaxValues = 24 * 60

const maxBlock = MaxValues * (binary.MaxVarintLen64 + 1)

// ErrBlock is returned for a stored block that does not decode.
var ErrBlock = errors.New("dayblock: damaged day block")

// Day is one day of one channel of one meter.
type Day struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Date    string           `json:"day"`
	Channel dlms.OBIS        `json:"channel"`
	// Start is the beginning of the first interval, Period the length of each.
	Start  time.Time     `json:"start"`
	Period time.Duration `json:"period_ns"`
	// Values are energies in Wh, Status the AMR status of each.
	Values []int64 `json:"values"`
	Status []byte  `json:"status"`
}

// Pack compresses a day: start and period, then the values as differences, then the status bytes. Neighbouring half
// hours are alike, so their differences are small, and flate finds what is left.
func (d Day) Pack() ([]byte, error) {
	if len(d.Values) != len(d.Status) || len(d.Values) > MaxValues {
		return nil, fmt.Errorf("dayblock: %d values with %d status bytes, want as many, at most %d",
			len(d.Values), len(d.Status), MaxValues)
	}
	raw := binary.AppendVarint(nil, d.Start.Unix())
	raw = binary.AppendUvarint(raw, uint64(d.Period/time.Second))
	raw = binary.AppendUvarint(raw, uint64(len(d.Values)))
	var last int64
	for _, v := range d.Values {
		raw = binary.AppendVarint(raw, v-last)
		last = v
	}
	raw = append(raw, d.Status...)
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Unpack fills in start, period, values and status from what Pack made.
func (d *Day) Unpack(block []byte) error {
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(block)), maxBlock+1))
	if err != nil || len(raw) > maxBlock {
		return ErrBlock
	}
	r := bytes.NewReader(raw)
	start, err1 := binary.ReadVarint(r)
	period, err2 := binary.ReadUvarint(r)
	n, err3 := binary.ReadUvarint(r)
	if errors.Join(err1, err2, err3) != nil || n > MaxValues || period > 24*3600 {
		return ErrBlock
	}
	values, status := make([]int64, n), make([]byte, n)
	var last int64
	for i := range values {
		delta, err := binary.ReadVarint(r)
		if err != nil {
			return ErrBlock
		}
		last += delta
		values[i] = last
	}
	if _, err := io.ReadFull(r, status); err != nil || r.Len() != 0 {
		return ErrBlock
	}
	d.Start, d.Period = time.Unix(start, 0).UTC(), time.Duration(period)*time.Second
	d.Values, d.Status = values, status
	return nil
}
