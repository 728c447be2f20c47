-- +goose Up

-- The fingerprints of keys stand in a table of their own, which is smaller than an index of the keys, and written in their
-- order: a batch of an import then comes to each page once. Who writes a key writes its fingerprint in the same commit.
CREATE TABLE fingerprints (
  fingerprint BLOB PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO fingerprints (fingerprint) SELECT fingerprint FROM keys ORDER BY fingerprint;
DROP INDEX keys_fingerprint;

-- +goose Down
CREATE UNIQUE INDEX keys_fingerprint ON keys (fingerprint);
DROP TABLE fingerprints;
