-- +goose Up

-- A key journal brings the versions that it speaks of itself, so none of its states has to wait for another journal.
DROP TABLE states_ahead;

-- +goose Down
CREATE TABLE states_ahead (
  meter   BYTEA NOT NULL,
  role    BIGINT NOT NULL,
  version BIGINT NOT NULL,
  state   TEXT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (meter, role, version, state, at)
);
