-- What the workflow is about: logins, devices, notices, verdicts, switches.

CREATE TABLE reported_login (      -- the input, as the application sent it
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant,
    event_id text NOT NULL,
    user_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    ip inet NOT NULL,
    user_agent text NOT NULL,
    device_cookie text,
    auth_method text,
    email text,
    locale text,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE device (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    fingerprint text NOT NULL,
    description text NOT NULL,     -- browser and system, for people
    first_workflow_id uuid NOT NULL,
    first_of_user boolean NOT NULL,  -- the user had no device before
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    UNIQUE (tenant_id, user_id, fingerprint)
);
CREATE UNIQUE INDEX device_first_of_user ON device (tenant_id, user_id) WHERE first_of_user;

CREATE TABLE login (               -- the stored event: one row a login, with the check's result
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    device_id uuid NOT NULL REFERENCES device,
    new_device boolean NOT NULL,
    occurred_at timestamptz NOT NULL,
    ip inet NOT NULL,
    auth_method text,
    saved_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX login_by_user ON login (tenant_id, user_id, occurred_at DESC);

CREATE TABLE notice (
    id uuid PRIMARY KEY,           -- also the mail's Message-ID and the webhook's delivery id
    workflow_id uuid NOT NULL REFERENCES workflow ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('new_device', 'verdict')),
    channel text NOT NULL CHECK (channel IN ('email', 'webhook')),
    state text NOT NULL DEFAULT 'recorded'
        CHECK (state IN ('recorded', 'sending', 'sent', 'failed', 'superseded')),
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz,       -- until then one sender is at it
    recorded_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    receipt text,                  -- what the receiver answered
    error text,
    UNIQUE (workflow_id, reason, channel)
);

CREATE TABLE receipt (             -- what users were told: one row a delivered notice
    notice_id uuid PRIMARY KEY REFERENCES notice ON DELETE CASCADE,
    workflow_id uuid NOT NULL,
    channel text NOT NULL,
    receipt text NOT NULL,
    sent_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE verdict (
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    level text NOT NULL CHECK (level IN ('low', 'medium', 'high', 'unscored')),
    action text NOT NULL CHECK (action IN ('allow', 'challenge', 'deny')),
    score double precision,
    reasons text[] NOT NULL DEFAULT '{}',
    model_version text,
    request_id text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX verdict_unscored ON verdict (stored_at) WHERE level = 'unscored';

CREATE TABLE switch (
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    name text NOT NULL CHECK (name IN ('require_step_up', 'locked')),
    is_on boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id, name)
);

CREATE TABLE switch_change (       -- the audit trail: one row a flip
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    is_on boolean NOT NULL,
    workflow_id uuid,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_id, name)
);

CREATE TABLE breaker (             -- one circuit breaker for the whole fleet, not one a process
    name text PRIMARY KEY,
    failures integer NOT NULL DEFAULT 0,
    open_until timestamptz,
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE failed_step (         -- what the error callbacks of the main workflow noted
    workflow_id uuid NOT NULL REFERENCES workflow ON DELETE CASCADE,
    level text NOT NULL CHECK (level IN ('task', 'member', 'group', 'chain')),
    step_id text NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, level, step_id, generation)
);
