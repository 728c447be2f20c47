-- +goose Up

-- How far down the versions of a key a search has come, so that it goes on there: 0 begins at the newest.
ALTER TABLE changes ADD COLUMN searched BIGINT NOT NULL DEFAULT 0;

-- When associations were tried with meters that may lock out, and did not open.
CREATE TABLE tries (
	meter BYTEA NOT NULL REFERENCES meters (title),
	at    BIGINT NOT NULL
);
CREATE INDEX tries_of ON tries (meter, at);

-- +goose Down
DROP TABLE tries;
ALTER TABLE changes DROP COLUMN searched;
