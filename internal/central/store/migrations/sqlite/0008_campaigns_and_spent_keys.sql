-- +goose Up

-- Campaigns: many key changes for one reason. Cursor is how far the selection has come through the meters, by title;
-- selected says that it is complete. Total, asked, done and dropped count the rows of campaign_keys; what is neither
-- asked, done nor dropped waits.
CREATE TABLE campaigns (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  name             TEXT NOT NULL,
  reason           TEXT NOT NULL,
  selection        TEXT NOT NULL,
  roles            TEXT NOT NULL,
  state            TEXT NOT NULL CHECK (state IN ('running', 'paused', 'stopped', 'aborted', 'done')),
  per_concentrator INTEGER NOT NULL,
  in_flight        INTEGER NOT NULL,
  budget           INTEGER NOT NULL,
  budget_tries     INTEGER NOT NULL,
  selected         INTEGER NOT NULL,
  cursor           BLOB NOT NULL,
  total            INTEGER NOT NULL,
  asked            INTEGER NOT NULL,
  done             INTEGER NOT NULL,
  dropped          INTEGER NOT NULL,
  why              TEXT NOT NULL,
  created_at       INTEGER NOT NULL,
  running_since    INTEGER NOT NULL,
  ended_at         INTEGER NOT NULL
) STRICT;

CREATE INDEX campaigns_open ON campaigns (id) WHERE state = 'running' OR asked > 0;

CREATE TABLE campaign_keys (
  campaign     INTEGER NOT NULL REFERENCES campaigns (id),
  meter        BLOB NOT NULL REFERENCES meters (title),
  role         INTEGER NOT NULL,
  concentrator BLOB NOT NULL REFERENCES devices (title),
  position     INTEGER NOT NULL,
  change_id    INTEGER NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'asked', 'done', 'dropped')),
  done_at      INTEGER NOT NULL,
  PRIMARY KEY (campaign, meter, role)
) STRICT;

CREATE INDEX campaign_keys_position ON campaign_keys (campaign, state, position, meter, role);
CREATE INDEX campaign_keys_concentrator ON campaign_keys (campaign, state, concentrator, position, meter, role);
CREATE INDEX campaign_keys_done ON campaign_keys (campaign, done_at) WHERE state = 'done';
CREATE INDEX campaign_keys_meter ON campaign_keys (meter) WHERE state = 'waiting' OR state = 'asked';

-- Counters past half of their range: few rows, looked for again and again.
CREATE INDEX send_counters_spent ON send_counters (meter, role, version) WHERE ceiling >= 2147483648;
CREATE INDEX receive_floors_spent ON receive_floors (meter, role, version) WHERE last >= 2147483648;

-- +goose Down
DROP INDEX receive_floors_spent;
DROP INDEX send_counters_spent;
DROP TABLE campaign_keys;
DROP TABLE campaigns;
