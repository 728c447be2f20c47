-- +goose Up

-- Keys with a counter past half of its range are few: they are noted when that happens, and the counters, which move with
-- every message, stand in no index.
CREATE TABLE spent_keys (
  meter   BYTEA NOT NULL,
  role    BIGINT NOT NULL,
  version BIGINT NOT NULL,
  PRIMARY KEY (meter, role, version)
);
INSERT INTO spent_keys (meter, role, version)
  SELECT meter, role, version FROM send_counters WHERE ceiling >= 2147483648
  UNION SELECT meter, role, version FROM receive_floors WHERE last >= 2147483648;
DROP INDEX receive_floors_spent;
DROP INDEX send_counters_spent;

-- Room for the next version of a row beside the one before, which then costs no index anything.
ALTER TABLE receive_floors SET (fillfactor = 70);
ALTER TABLE send_counters SET (fillfactor = 70);
ALTER TABLE keys SET (fillfactor = 70);
ALTER TABLE changes SET (fillfactor = 70);

-- What these refer to was read in the same transaction, and is never deleted. PostgreSQL looks for each anew, and locks it.
ALTER TABLE receive_floors DROP CONSTRAINT receive_floors_meter_role_version_fkey;
ALTER TABLE handouts DROP CONSTRAINT handouts_meter_role_version_fkey;
ALTER TABLE changes DROP CONSTRAINT changes_meter_fkey;
ALTER TABLE changes DROP CONSTRAINT changes_concentrator_fkey;

-- +goose Down
ALTER TABLE changes ADD CONSTRAINT changes_concentrator_fkey FOREIGN KEY (concentrator) REFERENCES devices (title);
ALTER TABLE changes ADD CONSTRAINT changes_meter_fkey FOREIGN KEY (meter) REFERENCES meters (title);
ALTER TABLE handouts ADD CONSTRAINT handouts_meter_role_version_fkey FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version);
ALTER TABLE receive_floors ADD CONSTRAINT receive_floors_meter_role_version_fkey FOREIGN KEY (meter, role, version) REFERENCES keys (meter, role, version);
ALTER TABLE changes RESET (fillfactor);
ALTER TABLE keys RESET (fillfactor);
ALTER TABLE send_counters RESET (fillfactor);
ALTER TABLE receive_floors RESET (fillfactor);
CREATE INDEX send_counters_spent ON send_counters (meter, role, version) WHERE ceiling >= 2147483648;
CREATE INDEX receive_floors_spent ON receive_floors (meter, role, version) WHERE last >= 2147483648;
DROP TABLE spent_keys;
