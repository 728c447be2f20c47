package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// SelectKeys implements rotation.CampaignStore. The rows never leave the database: the fleet may be a large one.
func (c Campaigns) SelectKeys(ctx context.Context, k *rotation.Campaign, meters int, now time.Time) error {
	q := selecting{args: []any{micros(now), k.ID}, today: dlms.DayOf(now.In(c.zone))}
	q.narrow(k.Selection)
	n, args := 1, func(int) []any { return slices.Clone(q.args) }
	switch named := k.Selection.Meters; {
	case len(named) > 0:
		q.where = append(q.where, `m.title = ?`+strconv.Itoa(len(q.args)+1))
		n, args = len(named), func(i int) []any { return append(slices.Clone(q.args), named[i][:]) }
	case k.Selection.Whole():
		after := k.Cursor
		end, err := c.part(ctx, after, meters)
		if err != nil {
			return err
		}
		q.where = append(q.where, `m.title > `+q.arg(after[:]))
		if k.Selected = end.IsZero(); !k.Selected {
			q.where = append(q.where, `m.title <= `+q.arg(end[:]))
			k.Cursor = end
		}
	}
	added, err := c.execEach(ctx, q.statement(k), n, args)
	k.Total += int(added)
	k.Selected = k.Selected || !k.Selection.Whole()
	return err
}

// part returns the last meter of the next part, zero where the part is the last.
func (c Campaigns) part(ctx context.Context, after dlms.SystemTitle, meters int) (end dlms.SystemTitle, err error) {
	rows, err := list(ctx, c.Store, scanTitle, `SELECT title FROM meters WHERE title > ? ORDER BY title LIMIT 1 OFFSET ?`, after[:], meters-1)
	if err == nil && len(rows) > 0 {
		end = rows[0]
	}
	return end, err
}

// selecting is a part of a selection as a statement: m is a meter, k a version in force. Its first two arguments are the
// time and the campaign.
type selecting struct {
	position string
	where    []string
	args     []any
	today    dlms.Day // where meters count days
}

// arg adds an argument and returns its place.
func (q *selecting) arg(v any) string {
	q.args = append(q.args, v)
	return "?" + strconv.Itoa(len(q.args))
}

func (q *selecting) narrow(s rotation.Selection) {
	q.where = []string{`CAST(?1 AS BIGINT) >= 0 AND m.concentrator IS NOT NULL AND m.state = 'enrolled' AND (k.role <> 4 OR m.profile = 'hardened')`}
	q.position = `CASE WHEN k.active_at > 0 THEN k.active_at ELSE k.created_at END`
	if !s.Concentrator.IsZero() {
		q.where = append(q.where, `m.concentrator = `+q.arg(s.Concentrator[:]))
	}
	if s.Maker != "" {
		q.where = append(q.where, `m.maker = `+q.arg(s.Maker))
	}
	if !s.Before.IsZero() {
		q.where = append(q.where, q.position+` < `+q.arg(micros(s.Before)))
	}
	if s.ByExposure() {
		held := `FROM handouts h JOIN keys l ON l.meter = h.meter AND l.role = h.role AND l.version = h.version AND l.state IN ('active', 'sent')
			JOIN devices d ON d.title = h.device WHERE h.meter = k.meter AND h.role = k.role
			AND (h.last_day IS NULL OR h.last_day >= ` + q.arg(q.today.String()) + `)`
		if s.Exposed {
			held += ` AND ` + sqlUnentitled
		}
		if !s.Holder.IsZero() {
			device := q.arg(s.Holder[:])
			held += ` AND h.device = ` + device
			q.where = append(q.where, `m.title IN (SELECT meter FROM handouts WHERE device = `+device+`)`)
		}
		q.where = append(q.where, `EXISTS (SELECT 1 `+held+`)`)
		q.position = `0 - (SELECT max(h.at) ` + held + `)`
	}
}

func (q *selecting) statement(c *rotation.Campaign) string {
	roles := make([]string, len(c.Roles))
	for i, r := range c.Roles {
		roles[i] = strconv.Itoa(int(r))
	}
	return `INSERT INTO campaign_keys (campaign, meter, role, concentrator, position, change_id, state, done_at)
		SELECT CAST(?2 AS BIGINT), m.title, k.role, m.concentrator, ` + q.position + `, 0, 'waiting', 0
		FROM meters m JOIN keys k ON k.meter = m.title AND k.state = 'active' AND k.role IN (` + strings.Join(roles, ", ") + `)
		WHERE ` + strings.Join(q.where, ` AND `) + ` ON CONFLICT DO NOTHING`
}

// AskKeys implements rotation.CampaignStore.
func (c Campaigns) AskKeys(ctx context.Context, k *rotation.Campaign, keys []rotation.CampaignKey, now time.Time) error {
	at := micros(now)
	_, err := c.execEach(ctx, `INSERT INTO changes (meter, concentrator, role, role_order, from_version, to_version,
		step, reason, attempts, tried, due_at, last_error, created_at, done_at)
		SELECT m.title, m.concentrator, v.role, ?3, v.version, 0, 'wanted', ?4, 0, 0, ?5, '', ?5, 0
		FROM meters m JOIN keys v ON v.meter = m.title AND v.role = ?2 AND v.state = 'active'
		WHERE m.title = ?1 AND m.concentrator IS NOT NULL AND m.state = 'enrolled' ON CONFLICT DO NOTHING`,
		len(keys), func(i int) []any {
			return []any{keys[i].Meter[:], int(keys[i].Role), slices.Index(role.Associations(), keys[i].Role), k.ChangeReason(), at}
		})
	if err != nil {
		return err
	}
	const open = `FROM changes c WHERE c.meter = campaign_keys.meter AND c.role = campaign_keys.role AND c.done_at = 0`
	key := func(i int) []any { return []any{k.ID, keys[i].Meter[:], int(keys[i].Role)} }
	asked, err := c.execEach(ctx, `UPDATE campaign_keys SET state = 'asked', change_id = (SELECT c.id `+open+`)
		WHERE campaign = ? AND meter = ? AND role = ? AND state = 'waiting' AND EXISTS (SELECT 1 `+open+`)`, len(keys), key)
	if err != nil {
		return err
	}
	dropped, err := c.execEach(ctx, `UPDATE campaign_keys SET state = 'dropped' WHERE campaign = ? AND meter = ? AND role = ? AND state = 'waiting'`,
		len(keys), key)
	k.Asked += int(asked)
	k.Dropped += int(dropped)
	return err
}

// WithdrawKeys implements rotation.CampaignStore. A change that has made no version yet has touched nothing: its row goes,
// unless somebody else has joined it. Whoever is just taking it up finds that its row is gone, and begins nothing.
func (c Campaigns) WithdrawKeys(ctx context.Context, k *rotation.Campaign) error {
	_, err := c.exec(ctx, `DELETE FROM changes WHERE id IN (SELECT change_id FROM campaign_keys WHERE campaign = ?1 AND state = 'asked')
		AND step = 'wanted' AND to_version = 0 AND tried = 0 AND reason = ?2
		AND NOT EXISTS (SELECT 1 FROM campaign_keys o WHERE o.change_id = changes.id AND o.campaign <> ?1 AND o.state = 'asked')`,
		k.ID, k.ChangeReason())
	if err != nil {
		return fmt.Errorf("withdraw key changes: %w", err)
	}
	n, err := c.exec(ctx, `UPDATE campaign_keys SET state = 'waiting', change_id = 0 WHERE campaign = ? AND state = 'asked'
		AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.id = campaign_keys.change_id)`, k.ID)
	if err != nil {
		return fmt.Errorf("withdraw key changes: %w", err)
	}
	k.Asked -= int(n)
	return nil
}
