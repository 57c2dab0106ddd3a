-- The ledger: every workflow and step, joins, and saved group results.

CREATE TABLE tenant (
    id text PRIMARY KEY,
    name text NOT NULL,
    webhook_url text,
    webhook_secret text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_key (
    key_sha256 bytea PRIMARY KEY,  -- the key itself is never stored
    tenant_id text NOT NULL REFERENCES tenant,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE workflow (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant,
    name text NOT NULL,
    state text NOT NULL DEFAULT 'accepted'
        CHECK (state IN ('accepted', 'done', 'failed', 'dead')),
    user_id text,
    event_id text,
    generation integer NOT NULL DEFAULT 1,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX workflow_by_user ON workflow (tenant_id, user_id, accepted_at DESC);
CREATE INDEX workflow_open ON workflow (accepted_at) WHERE state = 'accepted';

-- Keys live apart from workflows so that their retention is their own.
CREATE TABLE idempotency_key (
    tenant_id text NOT NULL REFERENCES tenant,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    workflow_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);

-- A step's id is its Celery task id, which programmers may choose: text, not uuid.
CREATE TABLE step (
    id text PRIMARY KEY,
    workflow_id uuid REFERENCES workflow ON DELETE CASCADE,  -- null: sent by hand, never planned
    position integer,
    task text,
    queue text,
    state text NOT NULL
        CHECK (state IN ('planned', 'ready', 'retrying', 'done', 'failed', 'dead', 'blocked')),
    status text NOT NULL DEFAULT 'PENDING',  -- Celery's word for it
    after text[] NOT NULL DEFAULT '{}',      -- planned predecessors
    sent_by text,                            -- the step whose commit made this one ready
    root_id text,
    parent_id text,
    message json,                            -- what to publish while ready or retrying
    due_at timestamptz,
    retries integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    redeliveries integer NOT NULL DEFAULT 0,
    generation integer NOT NULL DEFAULT 1,
    result text,                             -- JSON as Celery encodes it
    traceback text,
    children text,
    host text,
    planned_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    published_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX step_of_workflow ON step (workflow_id, position) WHERE workflow_id IS NOT NULL;
CREATE INDEX step_unpublished ON step (ready_at)
    WHERE published_at IS NULL AND state IN ('ready', 'retrying');
CREATE INDEX step_sent_by ON step (sent_by) WHERE state IN ('ready', 'retrying');
CREATE INDEX step_unplanned_finished ON step (finished_at) WHERE workflow_id IS NULL;

CREATE TABLE join_point (
    id text PRIMARY KEY,      -- the header's group id
    size integer,             -- leaves of the header, not its direct children; null: not known yet
    header text,              -- the header's result tree, when it is nested
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'fired', 'blocked')),
    created_at timestamptz NOT NULL DEFAULT now(),
    fired_at timestamptz
);

CREATE TABLE join_part (
    join_id text NOT NULL REFERENCES join_point ON DELETE CASCADE,
    step_id text NOT NULL,
    position integer,         -- the leaf's group index
    status text NOT NULL,
    result text,
    PRIMARY KEY (join_id, step_id)
);

CREATE TABLE saved_group (
    id text PRIMARY KEY,
    result text NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);
