-- +goose Up

-- The keys that makers sign their shipments with.
CREATE TABLE makers (
  fingerprint TEXT PRIMARY KEY,
  maker       TEXT NOT NULL,
  public_key  BLOB NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
  added_at    INTEGER NOT NULL,
  revoked_at  INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE makers;
