-- +goose Up

-- A change is open until it has the time when it was done: a column that changes once, where step changes all the time. An
-- index of open changes that asked for the step would be written with each of them.
UPDATE changes SET done_at = CASE WHEN created_at > 0 THEN created_at ELSE 1 END WHERE step = 'done' AND done_at = 0;
UPDATE changes SET done_at = 0 WHERE step <> 'done' AND done_at <> 0;
DROP INDEX changes_open;
DROP INDEX changes_due;
DROP INDEX changes_pass;
CREATE UNIQUE INDEX changes_open ON changes (meter, role) WHERE done_at = 0;
CREATE INDEX changes_pass ON changes (concentrator, id) WHERE done_at = 0;

-- +goose Down
DROP INDEX changes_pass;
DROP INDEX changes_open;
CREATE INDEX changes_pass ON changes (concentrator, id) WHERE step <> 'done';
CREATE INDEX changes_due ON changes (due_at) WHERE step <> 'done';
CREATE UNIQUE INDEX changes_open ON changes (meter, role) WHERE step <> 'done';
