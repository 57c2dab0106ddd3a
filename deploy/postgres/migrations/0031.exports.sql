-- What a user is given of all that is kept about them: collected, then packed into one file, which is kept for a day.

CREATE TABLE export_part (
    workflow_id uuid NOT NULL REFERENCES workflow ON DELETE CASCADE,
    store text NOT NULL,               -- which has said this: database, outlier_api
    name text NOT NULL,                -- a table of the database; what else a store has
    position integer NOT NULL,
    rows integer NOT NULL,
    body text NOT NULL,                -- JSON, a row a line
    put_aside_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, store, name, position)
);

CREATE TABLE export_archive (
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    archive bytea NOT NULL,            -- ZIP: compressed already
    packed_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE export_archive ALTER COLUMN archive SET STORAGE EXTERNAL;
