package cosem

import (
	"cmp"
	"fmt"
	"math"

	"github.com/meterseal/meterseal/dlms"
)

// compareNumbers compares two numbers of whatever types, exactly where both are integers.
func compareNumbers(a, b dlms.Data) (int, error) {
	x, errX := a.Int()
	y, errY := b.Int()
	if errX == nil && errY == nil {
		return cmp.Compare(x, y), nil
	}
	u, errU := a.Uint()
	v, errV := b.Uint()
	if errU == nil && errV == nil {
		return cmp.Compare(u, v), nil
	}
	f, err := a.Float()
	if err != nil {
		return 0, err
	}
	g, err := b.Float()
	if err != nil {
		return 0, err
	}
	if math.IsNaN(f) || math.IsNaN(g) {
		return 0, fmt.Errorf("%w: not a number", ErrValue)
	}
	return cmp.Compare(f, g), nil
}

// absolute returns how far a number is from zero.
func absolute(d dlms.Data) (dlms.Data, error) {
	if v, err := d.Int(); err == nil {
		if v < 0 {
			return dlms.Uint64(-uint64(v)), nil
		}
		return dlms.Uint64(uint64(v)), nil
	}
	if d.Tag() == dlms.TagUint64 {
		return d, nil
	}
	f, err := d.Float()
	return dlms.Float64(math.Abs(f)), err
}

// saturatedAdd adds and stays at the end of the range where the sum does not fit.
func saturatedAdd(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	}
	return a + b
}
