-- +goose Up

-- What is on its way to a meter: few rows, looked for again and again.
CREATE INDEX keys_sent ON keys (meter, role) WHERE state = 'sent';

-- +goose Down
DROP INDEX keys_sent;
