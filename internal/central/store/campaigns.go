package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/rotation"
)

// Campaigns is the tables of campaigns; it implements rotation.CampaignStore.
type Campaigns struct{ *Store }

// Campaigns returns the tables of campaigns.
func (s *Store) Campaigns() Campaigns { return Campaigns{s} }

var _ rotation.CampaignStore = Campaigns{}

const campaignColumns = `id, name, reason, selection, roles, state, per_concentrator, in_flight, budget, budget_tries,
	selected, cursor, total, asked, done, dropped, why, created_at, running_since, ended_at`

// AddCampaign implements rotation.CampaignStore.
func (c Campaigns) AddCampaign(ctx context.Context, k rotation.Campaign) (id int64, err error) {
	selection, err := json.Marshal(k.Selection)
	if err != nil {
		return 0, err
	}
	roles, err := json.Marshal(k.Roles)
	if err != nil {
		return 0, err
	}
	err = c.Update(ctx, func(ctx context.Context) error {
		id, err = one(ctx, c.Store, scanInt, `INSERT INTO campaigns (name, reason, selection, roles, state, per_concentrator, in_flight,
			budget, budget_tries, selected, cursor, total, asked, done, dropped, why, created_at, running_since, ended_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, 0, 0, 0, '', ?, ?, 0) RETURNING id`,
			text(k.Name), text(k.Reason), string(selection), string(roles), string(k.State), k.PerConcentrator, k.InFlight,
			k.Budget, k.BudgetTries, []byte{}, micros(k.CreatedAt), micros(k.RunningSince))
		return err
	})
	return id, err
}

// SaveCampaign implements rotation.CampaignStore.
func (c Campaigns) SaveCampaign(ctx context.Context, k rotation.Campaign) error {
	selected := 0
	if k.Selected {
		selected = 1
	}
	_, err := c.exec(ctx, `UPDATE campaigns SET state = ?, budget = ?, selected = ?, cursor = ?, total = ?, asked = ?, done = ?, dropped = ?,
		why = ?, running_since = ?, ended_at = ? WHERE id = ?`, string(k.State), k.Budget, selected, k.Cursor[:], k.Total, k.Asked, k.Done,
		k.Dropped, text(k.Why), micros(k.RunningSince), micros(k.EndedAt), k.ID)
	return err
}

// Campaigns implements rotation.CampaignStore.
func (c Campaigns) Campaigns(ctx context.Context) ([]rotation.Campaign, error) {
	return list(ctx, c.Store, scanCampaign, `SELECT `+campaignColumns+` FROM campaigns ORDER BY id DESC`)
}

// Campaign implements rotation.CampaignStore.
func (c Campaigns) Campaign(ctx context.Context, id int64) (rotation.Campaign, error) {
	k, err := one(ctx, c.Store, scanCampaign, `SELECT `+campaignColumns+` FROM campaigns WHERE id = ?`, id)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("campaign %d: %w", id, rotation.ErrNoCampaign)
	}
	return k, err
}

// OpenCampaigns implements rotation.CampaignStore.
func (c Campaigns) OpenCampaigns(ctx context.Context) ([]rotation.Campaign, error) {
	return list(ctx, c.Store, scanCampaign, `SELECT `+campaignColumns+` FROM campaigns WHERE state = 'running' OR asked > 0 ORDER BY id`)
}

func scanCampaign(r scanner) (k rotation.Campaign, err error) {
	var (
		selection, roles        string
		state                   string
		selected                int
		cursor                  []byte
		created, running, ended int64
	)
	err = r.Scan(&k.ID, &k.Name, &k.Reason, &selection, &roles, &state, &k.PerConcentrator, &k.InFlight, &k.Budget, &k.BudgetTries,
		&selected, &cursor, &k.Total, &k.Asked, &k.Done, &k.Dropped, &k.Why, &created, &running, &ended)
	if err != nil {
		return k, err
	}
	k.State, k.Selected = rotation.CampaignState(state), selected == 1
	k.CreatedAt, k.RunningSince, k.EndedAt = fromMicros(created), fromMicros(running), fromMicros(ended)
	if len(cursor) > 0 {
		k.Cursor, err = dlms.SystemTitleFromBytes(cursor)
	}
	return k, errors.Join(err, json.Unmarshal([]byte(selection), &k.Selection), json.Unmarshal([]byte(roles), &k.Roles))
}

// DoneSince implements rotation.CampaignStore.
func (c Campaigns) DoneSince(ctx context.Context, id int64, since time.Time) (int, error) {
	n, err := one(ctx, c.Store, scanInt, `SELECT count(*) FROM campaign_keys WHERE campaign = ? AND state = 'done' AND done_at >= ?`, id, micros(since))
	return int(n), err
}

// Hardest implements rotation.CampaignStore.
func (c Campaigns) Hardest(ctx context.Context, id int64, limit int) ([]rotation.Change, error) {
	return list(ctx, c.Store, scanChange, `SELECT c.id, c.meter, c.concentrator, c.role, c.from_version, c.to_version, c.step, c.reason,
		c.attempts, c.tried, c.searched, c.due_at, c.last_error, c.created_at, c.done_at FROM campaign_keys k JOIN changes c ON c.id = k.change_id
		WHERE k.campaign = ? AND k.state = 'asked' AND c.done_at = 0 AND c.last_error <> ''
		ORDER BY c.tried DESC, c.attempts DESC, c.id LIMIT ?`, id, limit)
}

// KeysUnderWay implements rotation.CampaignStore.
func (c Campaigns) KeysUnderWay(ctx context.Context, k rotation.Campaign) ([]rotation.UnderWay, error) {
	const stuck = `(c.step = 'searching' OR c.done_at = 0 AND c.tried >= ?1)`
	return list(ctx, c.Store, func(r scanner) (w rotation.UnderWay, err error) {
		return w, r.Scan(titleOf(&w.Concentrator), &w.Keys, &w.Stuck, &w.Late)
	}, `SELECT k.concentrator, count(*), CAST(sum(CASE WHEN `+stuck+` THEN 1 ELSE 0 END) AS BIGINT),
			CAST(sum(CASE WHEN c.done_at = 0 AND c.attempts >= ?2 AND NOT `+stuck+` THEN 1 ELSE 0 END) AS BIGINT)
		FROM campaign_keys k JOIN changes c ON c.id = k.change_id
		WHERE k.campaign = ?3 AND k.state = 'asked' GROUP BY k.concentrator ORDER BY k.concentrator`, k.BudgetTries, rotation.LateAttempts, k.ID)
}

// SettleKeys implements rotation.CampaignStore.
func (c Campaigns) SettleKeys(ctx context.Context, k *rotation.Campaign) error {
	if k.Asked == 0 {
		return nil
	}
	// ended says that the change that a key waits for is done, and whether it was asked for after the campaign was made.
	const ended = `EXISTS (SELECT 1 FROM changes c WHERE c.id = campaign_keys.change_id AND c.step = 'done' AND c.created_at `
	again, err := c.exec(ctx, `UPDATE campaign_keys SET state = 'waiting', change_id = 0
		WHERE campaign = ? AND state = 'asked' AND `+ended+`< ?)`, k.ID, micros(k.CreatedAt))
	if err != nil {
		return err
	}
	done, err := c.exec(ctx, `UPDATE campaign_keys SET state = 'done',
		done_at = (SELECT c.done_at FROM changes c WHERE c.id = campaign_keys.change_id)
		WHERE campaign = ? AND state = 'asked' AND `+ended+`>= ?)`, k.ID, micros(k.CreatedAt))
	if err != nil {
		return err
	}
	// A change that is gone was taken back when the campaign stopped, which has settled it, or its meter was given away.
	gone, err := c.exec(ctx, `UPDATE campaign_keys SET state = 'dropped' WHERE campaign = ? AND state = 'asked'
		AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.id = campaign_keys.change_id)`, k.ID)
	k.Asked -= int(again + done + gone)
	k.Done += int(done)
	k.Dropped += int(gone)
	return err
}

// NextKeys implements rotation.CampaignStore.
func (c Campaigns) NextKeys(ctx context.Context, id int64, concentrator dlms.SystemTitle, limit int) ([]rotation.CampaignKey, error) {
	at, args := ``, []any{id, limit}
	if !concentrator.IsZero() {
		at, args = ` AND concentrator = ?3`, append(args, concentrator[:])
	}
	return list(ctx, c.Store, func(r scanner) (k rotation.CampaignKey, err error) {
		return k, r.Scan(titleOf(&k.Meter), &k.Role, titleOf(&k.Concentrator))
	}, `SELECT meter, role, concentrator FROM campaign_keys WHERE campaign = ?1 AND state = 'waiting'`+at+` ORDER BY position, meter, role LIMIT ?2`, args...)
}

// NextConcentrator implements rotation.CampaignStore.
func (c Campaigns) NextConcentrator(ctx context.Context, id int64, after dlms.SystemTitle) (dlms.SystemTitle, bool, error) {
	rows, err := list(ctx, c.Store, scanTitle, `SELECT concentrator FROM campaign_keys WHERE campaign = ? AND state = 'waiting' AND concentrator > ?
		ORDER BY concentrator LIMIT 1`, id, after[:])
	if err != nil || len(rows) == 0 {
		return dlms.SystemTitle{}, false, err
	}
	return rows[0], true, nil
}
