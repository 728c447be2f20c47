-- +goose Up

-- After a restore each node brings back what its own journal has, in whatever order they start: a counter may come
-- before the version that it belongs to, which is in another node's journal.
CREATE TABLE send_counters_free (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  title   BLOB NOT NULL,
  ceiling INTEGER NOT NULL,
  raised  INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, title)
) STRICT;
INSERT INTO send_counters_free (meter, role, version, title, ceiling, raised)
  SELECT meter, role, version, title, ceiling, raised FROM send_counters;
DROP TABLE send_counters;
ALTER TABLE send_counters_free RENAME TO send_counters;

-- And so may its states, which wait here.
CREATE TABLE states_ahead (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  state   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, state, at)
) STRICT;

-- +goose Down
DROP TABLE states_ahead;
CREATE TABLE send_counters_bound (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  title   BLOB NOT NULL,
  ceiling INTEGER NOT NULL,
  raised  INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, title),
  FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version)
) STRICT;
INSERT INTO send_counters_bound (meter, role, version, title, ceiling, raised)
  SELECT meter, role, version, title, ceiling, raised FROM send_counters;
DROP TABLE send_counters;
ALTER TABLE send_counters_bound RENAME TO send_counters;
