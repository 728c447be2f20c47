-- +goose Up

-- A key that was handed out derived, for one terminal until one day: YYYY-MM-DD. NULL is the key itself.
ALTER TABLE handouts ADD COLUMN last_day TEXT;

-- +goose Down
ALTER TABLE handouts DROP COLUMN last_day;
