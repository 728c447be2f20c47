-- +goose Up

-- Meters that were given to another head-end, named by its transport key. Nothing is done with their keys any more.
CREATE TABLE exports (
  meter     BLOB PRIMARY KEY REFERENCES meters (title),
  recipient TEXT NOT NULL,
  at        INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE exports;
