-- +goose Up

-- Every system title there is, so that none is used twice (law 4).
CREATE TABLE titles (
  title      BLOB PRIMARY KEY CHECK (length(title) = 8),
  kind       TEXT NOT NULL CHECK (kind IN ('meter', 'concentrator', 'terminal', 'is-node')),
  created_at INTEGER NOT NULL
) STRICT;

-- Concentrators and terminals. IS nodes have a title and nothing else.
CREATE TABLE devices (
  title       BLOB PRIMARY KEY REFERENCES titles (title),
  kind        TEXT NOT NULL CHECK (kind IN ('concentrator', 'terminal')),
  nkey_public TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('enrolled', 'revoked')),
  enrolled_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX devices_nkey ON devices (nkey_public) WHERE nkey_public <> '';

CREATE TABLE meters (
  title        BLOB PRIMARY KEY REFERENCES titles (title),
  maker        TEXT NOT NULL,
  batch        TEXT NOT NULL,
  profile      TEXT NOT NULL,
  suite        INTEGER NOT NULL,
  concentrator BLOB REFERENCES devices (title),
  state        TEXT NOT NULL CHECK (state IN ('enrolled', 'failed', 'retired')),
  enrolled_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX meters_concentrator ON meters (concentrator);

CREATE TABLE grants (
  id         TEXT PRIMARY KEY,
  terminal   BLOB NOT NULL REFERENCES devices (title),
  not_before INTEGER NOT NULL,
  not_after  INTEGER NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('live', 'ended', 'closed')),
  created_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  closed_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX grants_state ON grants (state, not_after);

CREATE TABLE grant_meters (
  grant_id TEXT NOT NULL REFERENCES grants (id),
  meter    BLOB NOT NULL REFERENCES meters (title),
  PRIMARY KEY (grant_id, meter)
) STRICT;

CREATE INDEX grant_meters_meter ON grant_meters (meter);

-- Long-term keys of meters, one row a version, sealed under the vault's root and bound by a MAC under it.
CREATE TABLE keys (
  meter         BLOB NOT NULL REFERENCES meters (title),
  role          INTEGER NOT NULL,
  version       INTEGER NOT NULL,
  suite         INTEGER NOT NULL,
  term          INTEGER NOT NULL,
  sealed        BLOB NOT NULL,
  mac           BLOB NOT NULL,
  check_value   BLOB NOT NULL,
  fingerprint   BLOB NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'active', 'superseded', 'abandoned')),
  created_at    INTEGER NOT NULL,
  sent_at       INTEGER NOT NULL,
  active_at     INTEGER NOT NULL,
  ended_at      INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version)
) STRICT;

CREATE UNIQUE INDEX keys_fingerprint ON keys (fingerprint);

-- The two keys of a concentrator or terminal: the KEK that keys are sealed to it under, and the MAC key that
-- binds them.
CREATE TABLE device_keys (
  device      BLOB NOT NULL REFERENCES devices (title),
  use         TEXT NOT NULL CHECK (use IN ('kek', 'mac')),
  term        INTEGER NOT NULL,
  sealed      BLOB NOT NULL,
  mac         BLOB NOT NULL,
  fingerprint BLOB NOT NULL UNIQUE,
  PRIMARY KEY (device, use)
) STRICT;

-- Counters belong to a key version and a system title. Every value up to the ceiling may have been used by that
-- title; raised is the sum of what was skipped on a peer's word.
CREATE TABLE send_counters (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  title   BLOB NOT NULL,
  ceiling INTEGER NOT NULL,
  raised  INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, title),
  FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version)
) STRICT;

-- The highest counter accepted from a title under a key version.
CREATE TABLE receive_floors (
  meter   BLOB NOT NULL,
  role    INTEGER NOT NULL,
  version INTEGER NOT NULL,
  title   BLOB NOT NULL,
  last    INTEGER NOT NULL,
  PRIMARY KEY (meter, role, version, title),
  FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version)
) STRICT;

-- Handings-out: which key version was sealed to whom, with which range of counters.
CREATE TABLE handouts (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  device        BLOB NOT NULL REFERENCES devices (title),
  meter         BLOB NOT NULL,
  role          INTEGER NOT NULL,
  version       INTEGER NOT NULL,
  first_counter INTEGER NOT NULL,
  last_counter  INTEGER NOT NULL,
  grant_id      TEXT NOT NULL,
  at            INTEGER NOT NULL,
  FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version)
) STRICT;

CREATE INDEX handouts_key ON handouts (meter, role, version);
CREATE INDEX handouts_device ON handouts (device);

-- How far the key journal has been taken over into these tables.
CREATE TABLE journal_position (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  vault  TEXT NOT NULL,
  bytes  INTEGER NOT NULL,
  hash   BLOB NOT NULL
) STRICT;

-- The audit log as it is written, in the order of the commits ...
CREATE TABLE audit_entries (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     INTEGER NOT NULL,
  actor  TEXT NOT NULL,
  action TEXT NOT NULL,
  meter  BLOB,
  body   BLOB NOT NULL
) STRICT;

CREATE INDEX audit_entries_meter ON audit_entries (meter, id);

-- ... and as the sequencer numbered it: leaf n of the tree is entry id.
CREATE TABLE audit_leaves (
  n     INTEGER PRIMARY KEY,
  entry INTEGER NOT NULL UNIQUE REFERENCES audit_entries (id)
) STRICT;

CREATE TABLE audit_hashes (
  idx  INTEGER PRIMARY KEY,
  hash BLOB NOT NULL
) STRICT;

-- +goose Down
DROP TABLE audit_hashes;
DROP TABLE audit_leaves;
DROP TABLE audit_entries;
DROP TABLE journal_position;
DROP TABLE handouts;
DROP TABLE receive_floors;
DROP TABLE send_counters;
DROP TABLE device_keys;
DROP TABLE keys;
DROP TABLE grant_meters;
DROP TABLE grants;
DROP TABLE meters;
DROP TABLE devices;
DROP TABLE titles;
