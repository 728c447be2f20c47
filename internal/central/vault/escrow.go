package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// The actions of the escrow in the audit log.
const (
	ActionEscrowed audit.Action = "vault.key.escrowed"
	ActionRecalled audit.Action = "vault.key.recalled"
)

// maxEscrowRow is the longest row that is read back, in bytes.
const maxEscrowRow = 2 << 10

// EscrowRow is a key version as it is at rest, for somebody to keep who can do nothing with it.
type EscrowRow struct {
	Ref role.KeyRef
	Row []byte
}

// Escrow returns versions as they are at rest, for concentrators to keep: sealed under the root, and bound to meter, role
// and version by a MAC under it. A vault that was restored without its key journal has them back with Recall. They are
// handed over before their version leaves the house, so that none has ever left that cannot come back.
func (v *Software) Escrow(ctx context.Context, by audit.Actor, keepers []dlms.SystemTitle, keys []role.KeyRef) ([]EscrowRow, error) {
	rows, err := v.store.KeyRows(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: escrow: %w", err)
	}
	out := make([]EscrowRow, len(keys))
	for i, ref := range keys {
		row, ok := rows[ref]
		if !ok {
			return nil, fmt.Errorf("vault: escrow: %w: %s", ErrUnknownKey, ref)
		}
		if ref.Role == role.CCC {
			return nil, fmt.Errorf("vault: escrow: %w: %s", ErrRole, ref)
		}
		row.State, row.SentAt, row.ActiveAt, row.EndedAt = Sent, time.Time{}, time.Time{}, time.Time{}
		b, err := json.Marshal(row)
		if err != nil {
			return nil, fmt.Errorf("vault: escrow: %w", err)
		}
		if len(b) > maxEscrowRow {
			return nil, fmt.Errorf("vault: escrow: %s has %d bytes, want at most %d", ref, len(b), maxEscrowRow)
		}
		out[i] = EscrowRow{ref, b}
	}
	entries := make([]audit.Entry, len(keepers))
	for i, device := range keepers {
		entries[i] = audit.Entry{
			Actor: by, Action: ActionEscrowed, Phase: audit.Done, Subject: audit.Subject{Device: device},
			Detail: map[string]string{"versions": fmt.Sprint(len(keys))},
		}
	}
	return out, v.audit.Append(ctx, entries...)
}

// Recalled says what came back from a device.
type Recalled struct {
	// Versions is how many the vault had lost, Known how many it had, Copies how many keys the device holds as they were
	// sealed to it.
	Versions int `json:"versions"`
	Known    int `json:"known"`
	Copies   int `json:"copies"`
	// Refused says what was not taken, and why.
	Refused []string `json:"refused,omitempty"`
}

// maxRefused bounds what is said of what was refused.
const maxRefused = 50

func (r *Recalled) refuse(format string, args ...any) {
	if len(r.Refused) < maxRefused {
		r.Refused = append(r.Refused, fmt.Sprintf(format, args...))
	}
}

// Recall takes back what a concentrator keeps: rows of its escrow, and keys as they were sealed to it. What verifies and
// was lost becomes a version that may have reached its meter: the meter alone knows which one is in force. Nobody knows
// what counters were handed out with it, so it is handed out no more. From a copy the vault learns that the device holds
// the version, and up to which counter; a version that comes back as a copy alone, by the device's word, is taken for
// meters of that device only: it can play those meters with the key that it has in any case.
func (v *Software) Recall(ctx context.Context, by audit.Actor, device dlms.SystemTitle, rows [][]byte, copies []enrol.SealedKey) (Recalled, error) {
	var out Recalled
	var back []KeyRow
	for _, b := range rows {
		row, err := v.readEscrow(b)
		if err != nil {
			out.refuse("%v", err)
			continue
		}
		back = append(back, row)
	}
	err := v.step(ctx, func(ctx context.Context, c *change) error {
		got := Recalled{Refused: out.Refused}
		if err := v.recall(ctx, &got, device, back, copies, c); err != nil {
			return err
		}
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionRecalled, Phase: audit.Done, Subject: audit.Subject{Device: device},
			Detail: map[string]string{
				"lost": fmt.Sprint(got.Versions), "known": fmt.Sprint(got.Known), "copies": fmt.Sprint(got.Copies), "refused": fmt.Sprint(len(got.Refused)),
			},
		})
		out = got
		return nil
	})
	if err != nil {
		return Recalled{}, fmt.Errorf("vault: recall from %s: %w", device, err)
	}
	return out, nil
}

// readEscrow opens a row to see that it is one of this vault. It says nothing of what it reads but whose it is.
func (v *Software) readEscrow(b []byte) (KeyRow, error) {
	var row KeyRow
	if len(b) > maxEscrowRow || json.Unmarshal(b, &row) != nil {
		return row, fmt.Errorf("%w: not a row", ErrRow)
	}
	if row.Ref.Role == role.CCC {
		return row, fmt.Errorf("%w: %s is never in escrow", ErrRole, row.Ref)
	}
	if err := v.keys.CheckRow(row); err != nil {
		return row, err
	}
	return KeyRow{
		Ref: row.Ref, Suite: row.Suite, Term: row.Term, Sealed: row.Sealed, MAC: row.MAC, CheckValue: row.CheckValue,
		Fingerprint: row.Fingerprint, State: Sent, CreatedAt: row.CreatedAt,
	}, nil
}

func (v *Software) recall(ctx context.Context, out *Recalled, device dlms.SystemTitle, back []KeyRow, copies []enrol.SealedKey, c *change) error {
	d, known, err := v.store.DeviceRow(ctx, device)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: %s is not enrolled", ErrTitle, device)
	}
	held, err := v.openCopies(ctx, out, d, copies)
	if err != nil {
		return err
	}
	for _, h := range held {
		back = append(back, h.row)
	}
	fresh, err := v.lost(ctx, out, back)
	if err != nil {
		return err
	}
	for i := range fresh {
		fresh[i].SentAt = v.time()
		c.keys = append(c.keys, fresh[i])
		c.lost = append(c.lost, fresh[i].Ref)
	}
	return v.heldBy(ctx, out, d, held, c)
}

// lost returns the rows that the vault does not have, each once.
func (v *Software) lost(ctx context.Context, out *Recalled, back []KeyRow) (fresh []KeyRow, err error) {
	var refs []role.KeyRef
	var titles []dlms.SystemTitle
	for _, row := range back {
		refs, titles = append(refs, row.Ref), append(titles, row.Ref.Meter)
	}
	have, err := v.store.KeyRows(ctx, refs)
	if err != nil {
		return nil, err
	}
	kinds, err := v.store.TitleKinds(ctx, titles)
	if err != nil {
		return nil, err
	}
	for _, row := range back {
		old, known := have[row.Ref]
		switch {
		case known && old.Fingerprint == row.Fingerprint:
			out.Known++
		case known:
			out.refuse("%s: another key stands under this version", row.Ref)
		case kinds[row.Ref.Meter] != kindMeter:
			out.refuse("%s: the meter is not known: import its shipment again", row.Ref)
		default:
			have[row.Ref] = row
			fresh = append(fresh, row)
			out.Versions++
		}
	}
	return fresh, nil
}

// heldCopy is a key that a device holds.
type heldCopy struct {
	row  KeyRow
	last uint32
}

// openCopies opens the keys that were sealed to a device, of its own meters. What the vault has of them stays as it is.
func (v *Software) openCopies(ctx context.Context, out *Recalled, d DeviceRow, copies []enrol.SealedKey) (held []heldCopy, err error) {
	if len(copies) == 0 {
		return nil, nil
	}
	if err := v.keys.CheckDevice(d); err != nil {
		return nil, err
	}
	var titles []dlms.SystemTitle
	for _, s := range copies {
		titles = append(titles, s.Meter)
	}
	meters, err := v.store.MeterRows(ctx, titles)
	if err != nil {
		return nil, err
	}
	mine, err := v.store.AssignedMeters(ctx, d.Title, titles)
	if err != nil {
		return nil, err
	}
	for _, s := range copies {
		if !mine[s.Meter] || s.Role != role.CCLAN {
			out.refuse("%s: a copy, and the meter is not under %s", s.Ref(), d.Title)
			continue
		}
		row, err := v.keys.AdoptCopy(d, s, meters[s.Meter].Suite)
		if errors.Is(err, enrol.ErrSealed) {
			out.refuse("%s: a copy: %v", s.Ref(), err)
			continue
		}
		if err != nil {
			return nil, err
		}
		row.State, row.CreatedAt = Sent, v.time()
		held = append(held, heldCopy{row, uint32(s.LastCounter)})
	}
	return held, nil
}

// heldBy notes what a device holds: it was handed out, with counters up to the last one of the copy.
func (v *Software) heldBy(ctx context.Context, out *Recalled, d DeviceRow, held []heldCopy, c *change) error {
	refs := make([]role.KeyRef, len(held))
	for i, h := range held {
		refs[i] = h.row.Ref
	}
	spent, err := v.store.SendCounters(ctx, d.Title, refs)
	if err != nil {
		return err
	}
	for _, h := range held {
		out.Copies++
		if h.last <= spent[h.row.Ref].Ceiling {
			continue
		}
		c.counters = append(c.counters, CounterRow{Ref: h.row.Ref, Title: d.Title, Ceiling: h.last})
		c.handouts = append(c.handouts, Handout{Device: d.Title, Ref: h.row.Ref, FirstCounter: h.last, LastCounter: h.last, At: v.time()})
	}
	return nil
}

// Unknown returns those versions that the vault does not have.
func (v *Software) Unknown(ctx context.Context, keys []role.KeyRef) (unknown []role.KeyRef, err error) {
	rows, err := v.store.KeyRows(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	for _, ref := range keys {
		if _, ok := rows[ref]; !ok {
			unknown = append(unknown, ref)
		}
	}
	return unknown, nil
}

// RecallRow is when a device was asked for all it keeps, and what came.
type RecallRow struct {
	At time.Time `json:"at"`
	Recalled
}

func recallState(device dlms.SystemTitle) string { return "recall:" + device.String() }

// SetRecalled notes that a device has given back all it keeps.
func (v *Software) SetRecalled(ctx context.Context, device dlms.SystemTitle, r Recalled) error {
	return v.store.Update(ctx, func(ctx context.Context) error {
		return writeState(ctx, v.store, recallState(device), RecallRow{v.time(), r})
	})
}

// LastRecall returns what SetRecalled has noted last, nil for nothing since the vault was opened without its journal.
func (v *Software) LastRecall(ctx context.Context, device dlms.SystemTitle) (*RecallRow, error) {
	r, err := readState[RecallRow](ctx, v.store, recallState(device))
	if err != nil || r == nil || v.space != nil && r.At.Before(v.space.OpenedAt) {
		return nil, err
	}
	return r, nil
}
