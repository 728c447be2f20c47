-- +goose Up

-- Key changes: one row a change, the truth that the reconciler works from.
CREATE TABLE changes (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  meter        BLOB NOT NULL REFERENCES meters (title),
  concentrator BLOB NOT NULL REFERENCES devices (title),
  role         INTEGER NOT NULL,
  role_order   INTEGER NOT NULL,
  from_version INTEGER NOT NULL,
  to_version   INTEGER NOT NULL,
  step         TEXT NOT NULL CHECK (step IN ('wanted', 'generated', 'provisioned', 'sent', 'searching', 'done')),
  reason       TEXT NOT NULL,
  attempts     INTEGER NOT NULL,
  tried        INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  last_error   TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  done_at      INTEGER NOT NULL
) STRICT;

-- One open change a key: whoever asks for a second one finds the first.
CREATE UNIQUE INDEX changes_open ON changes (meter, role) WHERE step <> 'done';
CREATE INDEX changes_due ON changes (due_at) WHERE step <> 'done';
CREATE INDEX changes_reason ON changes (reason, id);

-- Readings: one compressed block a meter, day and channel.
CREATE TABLE readings (
  meter        BLOB NOT NULL REFERENCES meters (title),
  day          TEXT NOT NULL,
  channel      BLOB NOT NULL,
  vals         INTEGER NOT NULL,
  block        BLOB NOT NULL,
  received_at  INTEGER NOT NULL,
  PRIMARY KEY (meter, day, channel)
) STRICT;

-- What a concentrator last said of each meter's clock and index.
CREATE TABLE meter_sightings (
  meter         BLOB PRIMARY KEY REFERENCES meters (title),
  index_wh      INTEGER NOT NULL,
  clock_seconds INTEGER NOT NULL,
  seen_at       INTEGER NOT NULL
) STRICT;

-- The logs that concentrators and terminals keep of their own use of long-term keys, as delivered.
CREATE TABLE device_logs (
  device   BLOB NOT NULL REFERENCES devices (title),
  sequence INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  text     TEXT NOT NULL,
  hash     BLOB NOT NULL,
  PRIMARY KEY (device, sequence)
) STRICT;

-- The boot counter that each concentrator last said, so that a rewound copy of one is noticed.
CREATE TABLE device_epochs (
  device BLOB PRIMARY KEY REFERENCES devices (title),
  epoch  INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE device_epochs;
DROP TABLE device_logs;
DROP TABLE meter_sightings;
DROP TABLE readings;
DROP TABLE changes;
