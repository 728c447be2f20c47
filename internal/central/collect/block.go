// Package collect takes the readings that concentrators deliver and keeps them in day blocks: one compressed block
// per meter, day and channel, not a row per value.
package collect

import "github.com/meterseal/meterseal/internal/central/collect/dayblock"

// ErrBlock is returned for a stored block that does not decode.
var ErrBlock = dayblock.ErrBlock

// Day is one day of one channel of one meter.
type Day = dayblock.Day
