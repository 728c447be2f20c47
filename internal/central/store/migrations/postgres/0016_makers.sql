-- +goose Up

-- The keys that makers sign their shipments with.
CREATE TABLE makers (
  fingerprint TEXT PRIMARY KEY,
  maker       TEXT NOT NULL,
  public_key  BYTEA NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
  added_at    BIGINT NOT NULL,
  revoked_at  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE makers;
