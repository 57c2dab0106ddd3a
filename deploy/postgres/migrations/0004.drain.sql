-- Processes that are to take no messages until somebody resumes them. A closed row is the audit trail.
CREATE TABLE drain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool text NOT NULL,
    host text,                 -- null: every host
    process integer,           -- its number on its host; null: every one
    drained_by text NOT NULL,
    drained_at timestamptz NOT NULL DEFAULT now(),
    resumed_by text,
    resumed_at timestamptz
);
CREATE UNIQUE INDEX drain_open ON drain (pool, coalesce(host, ''), coalesce(process, 0)) WHERE resumed_at IS NULL;
