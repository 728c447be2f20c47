-- +goose Up

-- After a restore each node brings back what its own journal has, in whatever order they start: a counter may come
-- before the version that it belongs to, which is in another node's journal.
CREATE TABLE send_counters_free (
  meter   BYTEA NOT NULL,
  role    BIGINT NOT NULL,
  version BIGINT NOT NULL,
  title   BYTEA NOT NULL,
  ceiling BIGINT NOT NULL,
  raised  BIGINT NOT NULL,
  PRIMARY KEY (meter, role, version, title)
);
INSERT INTO send_counters_free (meter, role, version, title, ceiling, raised)
  SELECT meter, role, version, title, ceiling, raised FROM send_counters;
DROP TABLE send_counters;
ALTER TABLE send_counters_free RENAME TO send_counters;

-- And so may its states, which wait here.
CREATE TABLE states_ahead (
  meter   BYTEA NOT NULL,
  role    BIGINT NOT NULL,
  version BIGINT NOT NULL,
  state   TEXT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (meter, role, version, state, at)
);

-- +goose Down
DROP TABLE states_ahead;
CREATE TABLE send_counters_bound (
  meter   BYTEA NOT NULL,
  role    BIGINT NOT NULL,
  version BIGINT NOT NULL,
  title   BYTEA NOT NULL,
  ceiling BIGINT NOT NULL,
  raised  BIGINT NOT NULL,
  PRIMARY KEY (meter, role, version, title),
  FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version)
);
INSERT INTO send_counters_bound (meter, role, version, title, ceiling, raised)
  SELECT meter, role, version, title, ceiling, raised FROM send_counters;
DROP TABLE send_counters;
ALTER TABLE send_counters_bound RENAME TO send_counters;
