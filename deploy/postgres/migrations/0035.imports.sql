-- Logins of before are taken in by a workflow: put aside first, then applied a slice at a time.

CREATE TABLE login_import (
    id uuid PRIMARY KEY,               -- its workflow's too
    tenant_id text NOT NULL REFERENCES tenant,
    key text NOT NULL,                 -- by which whoever sends it finds it again, such as the digest of a file
    line bigint NOT NULL DEFAULT 0,    -- up to this one it is here
    staged bigint NOT NULL DEFAULT 0,  -- logins that were put aside
    skipped bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    touched_at timestamptz NOT NULL DEFAULT now(),
    begun_at timestamptz,
    UNIQUE (tenant_id, key)
);

-- A login is here from when it came until it is applied. Its import's row is locked by whoever writes it: no foreign key.
CREATE TABLE import_login (
    import_id uuid NOT NULL,
    user_key bigint NOT NULL,          -- of the user's lock: slices take users in the order in which all lock them
    occurred_at timestamptz NOT NULL,
    line bigint NOT NULL,
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    event_id text NOT NULL,
    body_sha256 bytea NOT NULL,
    ip inet NOT NULL,
    user_agent text NOT NULL,
    cookie_id uuid,
    auth_method text,
    email text,
    other_email text,
    locale text,
    time_zone text,
    kind text NOT NULL,
    PRIMARY KEY (import_id, user_key, occurred_at, line)
);
CREATE INDEX import_login_of_user ON import_login (tenant_id, user_id);

-- One row an applied slice.
CREATE TABLE import_part (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    import_id uuid NOT NULL REFERENCES login_import ON DELETE CASCADE,
    bucket integer NOT NULL,           -- of users, with which the slice began
    accepted integer NOT NULL,
    known integer NOT NULL,            -- reported before
    workflow_ids uuid[]                -- of the accepted; null: the outlier API has learned them
);
CREATE INDEX import_part_of_import ON import_part (import_id, bucket);
