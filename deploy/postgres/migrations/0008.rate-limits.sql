-- How many steps of a task the whole fleet may begin a second, until somebody lifts the limit. A closed row is the audit trail.
CREATE TABLE rate_limit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL,
    per_second double precision NOT NULL CHECK (per_second > 0),
    burst double precision NOT NULL CHECK (burst >= 1),  -- so many may begin at once, behind a rest
    permits double precision NOT NULL,                   -- that were left at filled_at
    filled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    lifted_by text,
    lifted_at timestamptz
);
CREATE UNIQUE INDEX rate_limit_open ON rate_limit (task) WHERE lifted_at IS NULL;

-- Steps that were parked and may begin now: whoever gets the message asks for no second permit.
CREATE TABLE rate_permit (
    step_id text PRIMARY KEY,
    given_at timestamptz NOT NULL DEFAULT now()
);
