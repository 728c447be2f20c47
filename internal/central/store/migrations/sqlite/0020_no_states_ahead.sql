-- +goose Up

-- A key journal brings the versions that it speaks of itself, so none of its states has to wait for another journal.
DROP TABLE states_ahead;

-- +goose Down
CREATE TABLE states_ahead (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  state   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, state, at)
) STRICT;
