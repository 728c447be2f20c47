package rotation

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// Why somebody holds a key.
const (
	WhyOwn     = "held by its concentrator"
	WhyMoved   = "moved away"
	WhyRevoked = "revoked"
	WhyGrant   = "live grant"
	WhyEnded   = "ended grant not yet proven"
)

// Holding is a key version that may be in force and was handed out.
type Holding struct {
	role.KeyRef
	// State is active, or sent: on its way and perhaps in force.
	State string `json:"state"`
	// Holder is the concentrator or terminal that it was sealed to, Since the first time.
	Holder dlms.SystemTitle `json:"holder"`
	Kind   string           `json:"kind"`
	Since  time.Time        `json:"since"`
	Why    string           `json:"why"`
	// LastDay is when the meter itself ends it: what the holder has is derived from the key until that day. It is zero
	// where the holder has the key itself, which ends with the key alone. What has passed its day is no holding.
	LastDay dlms.Day `json:"last_day,omitzero"`
}

// ExposureQuery selects holdings: of one holder, of one meter, or of everybody. It is one of the three.
type ExposureQuery struct {
	Concentrator dlms.SystemTitle `json:"concentrator,omitzero"`
	Terminal     dlms.SystemTitle `json:"terminal,omitzero"`
	Meter        dlms.SystemTitle `json:"meter,omitzero"`
	// Unentitled leaves out who has a right to the key now: a meter's own concentrator, a live grant.
	Unentitled bool `json:"unentitled,omitempty"`
	// Limit is how many holdings are listed, 1,000 by default; the totals count all.
	Limit int `json:"limit,omitempty"`
}

// Holder is the device asked for, if any.
func (q ExposureQuery) Holder() dlms.SystemTitle {
	if !q.Terminal.IsZero() {
		return q.Terminal
	}
	return q.Concentrator
}

// Exposure is who holds which live key, and since when, newest first.
type Exposure struct {
	Totals   []ExposureTotal `json:"totals"`
	Holdings []Holding       `json:"holdings"`
	// Omitted counts the holdings that are not listed.
	Omitted int `json:"omitted"`
}

// ExposureTotal counts the holdings of one role for one reason.
type ExposureTotal struct {
	Role   role.Role `json:"role"`
	Why    string    `json:"why"`
	Keys   int       `json:"keys"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
}

// ExposureStore tells what is exposed.
type ExposureStore interface {
	Exposure(ctx context.Context, q ExposureQuery, now time.Time) (Exposure, error)
}
