-- +goose Up

-- The fingerprints of keys stand in the index of the keys here: a table of its own would be larger, not smaller. The view
-- gives them the name that they have in SQLite.
CREATE VIEW fingerprints AS SELECT fingerprint FROM keys;

-- +goose Down
DROP VIEW fingerprints;
