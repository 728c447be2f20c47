-- +goose Up

-- Who is let in: the certificates that were issued to people and services, and when they were revoked.
CREATE TABLE people (
  fingerprint TEXT PRIMARY KEY,
  name        TEXT NOT NULL,
  roles       TEXT NOT NULL,
  issued_by   TEXT NOT NULL,
  issued_at   INTEGER NOT NULL,
  not_after   INTEGER NOT NULL,
  revoked_at  INTEGER NOT NULL DEFAULT 0,
  revoked_by  TEXT NOT NULL DEFAULT '',
  why         TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX people_name ON people (name, issued_at);

-- What wants a second person, and who gave the word. One row is used once.
CREATE TABLE approvals (
  id          TEXT PRIMARY KEY,
  op          TEXT NOT NULL,
  hash        TEXT NOT NULL,
  params      TEXT NOT NULL,
  why         TEXT NOT NULL,
  requester   TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  valid_until INTEGER NOT NULL,
  approver    TEXT NOT NULL DEFAULT '',
  approved_at INTEGER NOT NULL DEFAULT 0,
  reason      TEXT NOT NULL DEFAULT '',
  used_at     INTEGER NOT NULL DEFAULT 0,
  ended_at    INTEGER NOT NULL DEFAULT 0,
  ended_by    TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX approvals_valid ON approvals (valid_until);

-- What was used of a quota, and what was refused for it.
CREATE TABLE quota_uses (
  class   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  by_whom TEXT NOT NULL
) STRICT;

CREATE INDEX quota_uses_at ON quota_uses (class, at);

-- Classes that an anomaly has stopped.
CREATE TABLE quota_stops (
  class TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  why   TEXT NOT NULL
) STRICT;

-- +goose Down
DROP TABLE quota_stops;
DROP TABLE quota_uses;
DROP TABLE approvals;
DROP TABLE people;
