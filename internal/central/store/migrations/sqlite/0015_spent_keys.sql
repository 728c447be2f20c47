-- +goose Up

-- Keys with a counter past half of its range are few: they are noted when that happens, and the counters, which move with
-- every message, stand in no index.
CREATE TABLE spent_keys (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version)
) STRICT, WITHOUT ROWID;
INSERT INTO spent_keys (meter, role, version)
  SELECT meter, role, version FROM send_counters WHERE ceiling >= 2147483648
  UNION SELECT meter, role, version FROM receive_floors WHERE last >= 2147483648;
DROP INDEX receive_floors_spent;
DROP INDEX send_counters_spent;

-- +goose Down
CREATE INDEX send_counters_spent ON send_counters (meter, role, version) WHERE ceiling >= 2147483648;
CREATE INDEX receive_floors_spent ON receive_floors (meter, role, version) WHERE last >= 2147483648;
DROP TABLE spent_keys;
