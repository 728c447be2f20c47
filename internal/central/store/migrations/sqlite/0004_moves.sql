-- +goose Up

-- Meters that were moved to another concentrator, and from where, until no version of CC_LAN in force was ever handed out
-- to anybody but the present one. Told says that the one before has forgotten what it held.
CREATE TABLE moves (
  meter       BLOB NOT NULL REFERENCES meters (title),
  from_device BLOB NOT NULL REFERENCES devices (title),
  at          INTEGER NOT NULL,
  told        INTEGER NOT NULL,
  PRIMARY KEY (meter, from_device)
) STRICT;

CREATE INDEX moves_untold ON moves (from_device) WHERE told = 0;
CREATE INDEX devices_revoked ON devices (title) WHERE state = 'revoked';

-- +goose Down
DROP INDEX devices_revoked;
DROP TABLE moves;
