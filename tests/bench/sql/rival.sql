-- name: verdicts
-- How many of these logins have a verdict, and when the last one was stored.
SELECT count(*), max(stored_at) FROM verdict WHERE event_id = ANY (%(events)s)

-- name: our_verdicts
-- The same in a database with our schema, where a verdict's own time is its transaction's beginning.
SELECT count(*), max(step.finished_at) FROM workflow JOIN step ON step.workflow_id = workflow.id
WHERE event_id = ANY (%(events)s) AND task = 'db_writes.apply_verdict' AND step.state = 'done'

-- name: tenant
-- Whose logins they are, in a database with our schema.
INSERT INTO tenant (id, name) VALUES (%(tenant)s, %(tenant)s)

-- name: schema
-- What a version of the workflow without a ledger keeps.
CREATE TABLE device (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    fingerprint text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    UNIQUE (user_id, fingerprint)
);
CREATE TABLE login (
    event_id text PRIMARY KEY,
    user_id text NOT NULL,
    device_id bigint NOT NULL REFERENCES device,
    new_device boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    ip inet NOT NULL,
    user_agent text NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE notice (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    reason text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE verdict (
    event_id text PRIMARY KEY,
    user_id text NOT NULL,
    level text NOT NULL,
    action text NOT NULL,
    score double precision,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE switch (
    user_id text NOT NULL,
    name text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, name)
);
