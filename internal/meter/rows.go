package meter

import (
	"cmp"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// curveRows is the buffer of a load curve. Within one APDU all its answers are of one moment.
type curveRows struct{}

var _ cosem.DisorderedRows = curveRows{}

func (curveRows) view(env *cosem.Env) (*view, error) {
	m, err := device(env)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		v := curve{
			load: m.Load(), installed: m.state.birth.installed, history: &m.state.clock, until: m.kind.worldAt(env.Now),
		}.view()
		m.view = &v
		env.After(func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.view = nil
		})
	}
	return m.view, nil
}

// Len implements cosem.Rows.
func (r curveRows) Len(env *cosem.Env) (uint32, error) {
	v, err := r.view(env)
	if err != nil {
		return 0, err
	}
	return v.len, nil
}

// Row implements cosem.Rows.
func (r curveRows) Row(env *cosem.Env, i uint32) ([]dlms.Data, error) {
	v, err := r.view(env)
	if err != nil {
		return nil, err
	}
	row, ok := v.row(i)
	if !ok {
		return nil, dlms.DataAccessScopeViolated
	}
	var status dlms.ClockStatus
	if row.status&rowInvalid != 0 {
		status = dlms.ClockInvalid
	}
	return []dlms.Data{
		dlms.DateTimeOf(row.at.time().In(localZone(env)), status).Octets(), dlms.Uint8(row.status), dlms.Uint32(uint32(row.wattHours)),
	}, nil
}

// Find implements cosem.Rows.
func (r curveRows) Find(env *cosem.Env, t time.Time) (uint32, error) {
	v, err := r.view(env)
	if err != nil {
		return 0, err
	}
	return v.find(ceilMoment(t)), nil
}

// Disordered implements cosem.DisorderedRows.
func (r curveRows) Disordered(env *cosem.Env) (bool, error) {
	v, err := r.view(env)
	if err != nil {
		return false, err
	}
	return v.disordered(), nil
}

// ceilMoment is the first moment at or after t.
func ceilMoment(t time.Time) moment {
	m := momentOf(t)
	if m.time().Before(t) {
		m++
	}
	return m
}

// logRows is the buffer of a log.
type logRows struct{ n logNumber }

var _ cosem.DisorderedRows = logRows{}

func (r logRows) entries(env *cosem.Env) ([]logEntry, func(), error) {
	m, err := device(env)
	if err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	return m.state.logs[r.n-1].entries, m.mu.Unlock, nil
}

// Len implements cosem.Rows.
func (r logRows) Len(env *cosem.Env) (uint32, error) {
	entries, unlock, err := r.entries(env)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return uint32(len(entries)), nil
}

// Row implements cosem.Rows.
func (r logRows) Row(env *cosem.Env, i uint32) ([]dlms.Data, error) {
	entries, unlock, err := r.entries(env)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if uint64(i) >= uint64(len(entries)) {
		return nil, dlms.DataAccessScopeViolated
	}
	e := entries[i]
	return []dlms.Data{dlms.DateTimeOf(e.at.time().In(localZone(env)), 0).Octets(), dlms.Uint8(uint8(e.code))}, nil
}

// Find implements cosem.Rows.
func (r logRows) Find(env *cosem.Env, t time.Time) (uint32, error) {
	entries, unlock, err := r.entries(env)
	if err != nil {
		return 0, err
	}
	defer unlock()
	from := ceilMoment(t)
	for i, e := range entries {
		if e.at >= from {
			return uint32(i), nil
		}
	}
	return uint32(len(entries)), nil
}

// Disordered implements cosem.DisorderedRows: the clock may have gone back.
func (r logRows) Disordered(env *cosem.Env) (bool, error) {
	entries, unlock, err := r.entries(env)
	if err != nil {
		return false, err
	}
	defer unlock()
	return !slices.IsSortedFunc(entries, func(a, b logEntry) int { return cmp.Compare(a.at, b.at) }), nil
}
