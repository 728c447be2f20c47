-- +goose Up

-- Numbered entries stand in runs: entries many leaves from n on are as many entries from id entry on. A row of hashes
-- holds all those from its idx on, one after the other.
ALTER TABLE audit_leaves ADD COLUMN entries BIGINT NOT NULL DEFAULT 1;

-- Open changes in the order in which a pass takes them: without it every pass would sort all that is open.
CREATE INDEX changes_pass ON changes (concentrator, id) WHERE step <> 'done';

-- +goose Down
DROP INDEX changes_pass;
-- The numbers follow from the entries: what was numbered in runs is numbered anew, as it was.
DELETE FROM audit_leaves;
DELETE FROM audit_hashes;
ALTER TABLE audit_leaves DROP COLUMN entries;
