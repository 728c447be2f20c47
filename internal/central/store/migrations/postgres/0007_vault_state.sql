-- +goose Up

-- What the vault has to know of itself, in its own words: that it is sealed, and the nonce space it was opened in.
CREATE TABLE vault_state (
  name  TEXT PRIMARY KEY,
  value BYTEA NOT NULL
);

-- Versions of which nobody knows which counters were handed out with them: they are handed out no more.
ALTER TABLE keys ADD COLUMN counters_lost BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE keys DROP COLUMN counters_lost;
DROP TABLE vault_state;
