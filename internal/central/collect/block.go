// Package collect takes the readings that concentrators deliver and keeps them in day blocks: one compressed block
// per meter, day and channel, not a row per value.
package collect

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

// Limits of a block: a day in the shortest capture period of 1 minute.
const (
	maxValues = 24 * 60
	maxBlock  = maxValues * (binary.MaxVarintLen64 + 1)
)

// ErrBlock is returned for a stored block that does not decode.
var ErrBlock = errors.New("collect: damaged day block")

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
	if len(d.Values) != len(d.Status) || len(d.Values) > maxValues {
		return nil, fmt.Errorf("collect: %d values with %d status bytes, want as many, at most %d",
			len(d.Values), len(d.Status), maxValues)
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
	if errors.Join(err1, err2, err3) != nil || n > maxValues || period > 24*3600 {
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
