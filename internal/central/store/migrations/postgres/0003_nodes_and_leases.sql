-- +goose Up

-- The processes that share this database: the epoch rises each time a process takes a name.
CREATE TABLE nodes (
  name     TEXT PRIMARY KEY,
  epoch    BIGINT NOT NULL,
  taken_at BIGINT NOT NULL
);

-- Who may work on what, until when. The token only goes up; rows are never deleted.
CREATE TABLE leases (
  kind    TEXT NOT NULL,
  subject BYTEA NOT NULL,
  owner   TEXT NOT NULL,
  token   BIGINT NOT NULL,
  until   BIGINT NOT NULL,
  PRIMARY KEY (kind, subject)
);

-- Each node has a key journal of its own. The place from before there were nodes has no name; the first node to take
-- one takes it over.
CREATE TABLE journal_position_of_node (
  node  TEXT PRIMARY KEY,
  vault TEXT NOT NULL,
  bytes BIGINT NOT NULL,
  hash  BYTEA NOT NULL
);
INSERT INTO journal_position_of_node (node, vault, bytes, hash) SELECT '', vault, bytes, hash FROM journal_position;
DROP TABLE journal_position;
ALTER TABLE journal_position_of_node RENAME TO journal_position;

-- +goose Down
CREATE TABLE journal_position_of_one (
  id     BIGINT PRIMARY KEY CHECK (id = 1),
  vault  TEXT NOT NULL,
  bytes  BIGINT NOT NULL,
  hash   BYTEA NOT NULL
);
INSERT INTO journal_position_of_one (id, vault, bytes, hash) SELECT 1, vault, bytes, hash FROM journal_position;
DROP TABLE journal_position;
ALTER TABLE journal_position_of_one RENAME TO journal_position;
DROP TABLE leases;
DROP TABLE nodes;
