-- What operators switch by hand.

-- Tasks that are paused until somebody resumes them, and the steps that wait for it here instead of in their queue.
-- A closed row is the audit trail.
CREATE TABLE pause (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL,
    drops boolean NOT NULL DEFAULT false,  -- steps that come are given up, not kept
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    resumed_by text,
    resumed_at timestamptz
);
CREATE UNIQUE INDEX pause_open ON pause (task) WHERE resumed_at IS NULL;

-- NOT VALID: the rows that are there fulfil the old constraint, and with it the new one; nothing is read.
ALTER TABLE step
    DROP CONSTRAINT step_state_check,
    ADD CONSTRAINT step_state_check
        CHECK (state IN ('planned', 'ready', 'retrying', 'parked', 'done', 'failed', 'dead', 'blocked')) NOT VALID;
CREATE INDEX step_parked ON step (task, ready_at) WHERE state = 'parked';

-- A breaker that is held stays open, without a probe, until somebody closes it.
ALTER TABLE breaker ADD COLUMN held_by text;
CREATE TABLE breaker_action (      -- the audit trail: one row a command
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    action text NOT NULL CHECK (action IN ('open', 'close')),
    actor text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now()
);

-- Who flipped a switch by hand.
ALTER TABLE switch_change ADD COLUMN actor text;

-- When a canary last came back from all queues. One row; the time of its making until then.
CREATE TABLE canary (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    returned_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO canary DEFAULT VALUES;
