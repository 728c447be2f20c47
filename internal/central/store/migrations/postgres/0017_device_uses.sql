-- +goose Up

-- Which key an entry of a device's log says was used, where it says so.
ALTER TABLE device_logs ADD COLUMN meter BYTEA;
ALTER TABLE device_logs ADD COLUMN role BIGINT;
ALTER TABLE device_logs ADD COLUMN version BIGINT;

-- When a device last told of its log, though nothing in it was new.
ALTER TABLE devices ADD COLUMN told_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX device_logs_meter ON device_logs (meter, device, sequence) WHERE meter IS NOT NULL;

-- +goose Down
DROP INDEX device_logs_meter;
ALTER TABLE devices DROP COLUMN told_at;
ALTER TABLE device_logs DROP COLUMN version;
ALTER TABLE device_logs DROP COLUMN role;
ALTER TABLE device_logs DROP COLUMN meter;
