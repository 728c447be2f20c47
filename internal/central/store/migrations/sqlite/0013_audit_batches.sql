-- +goose Up

-- A record of the audit log may name many keys. Their meters stand one after the other in meters, and who looks for those
-- of one meter finds them in audit_mentions, which is written together with their numbers: entries are the records from
-- id entry on, as differences.
ALTER TABLE audit_entries ADD COLUMN meters BLOB;

CREATE TABLE audit_mentions (
  meter   BLOB NOT NULL,
  entry   INTEGER NOT NULL,
  entries BLOB NOT NULL,
  PRIMARY KEY (meter, entry)
) STRICT, WITHOUT ROWID;

DROP INDEX audit_entries_meter;
CREATE INDEX audit_entries_meter ON audit_entries (meter, id) WHERE meter IS NOT NULL;

-- +goose Down
-- Records of many keys stay as they are; the older program does not find them by their meters.
DROP INDEX audit_entries_meter;
CREATE INDEX audit_entries_meter ON audit_entries (meter, id);
DROP TABLE audit_mentions;
ALTER TABLE audit_entries DROP COLUMN meters;
