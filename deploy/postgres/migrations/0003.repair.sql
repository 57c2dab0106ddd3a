-- What giving up, repair and replay need to know.

ALTER TABLE step
    ADD COLUMN reason text,                          -- why it failed or died, in one word
    ADD COLUMN republished integer NOT NULL DEFAULT 0,  -- by the reconciler, in this generation
    ADD COLUMN dropped_at timestamptz,               -- the operator wants no replay of it
    ADD COLUMN lease_until timestamptz;              -- until then one process is at its call
CREATE INDEX step_waiting ON step (queue, published_at)
    WHERE published_at IS NOT NULL AND state IN ('ready', 'retrying');
CREATE INDEX step_given_up ON step (finished_at)
    WHERE state IN ('failed', 'dead') AND dropped_at IS NULL;
CREATE INDEX step_probe ON step (queue, ready_at) WHERE task = 'maintenance.probe';

-- Leaves that joined (Task.add_to_chord) before the header's size was known.
ALTER TABLE join_point ADD COLUMN grown integer NOT NULL DEFAULT 0;

-- Steps that were alone at work when their process passed their hard limit: who runs one again, fails it.
CREATE TABLE hard_limit_passed (
    step_id text PRIMARY KEY,
    host text NOT NULL,
    passed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letter_action (  -- the audit trail: one row a replayed or dropped step
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('replay', 'resume', 'drop')),
    step_id text NOT NULL,
    workflow_id uuid,
    task text,
    queue text NOT NULL,
    reason text,
    generation integer NOT NULL,   -- the one that begins, or that was dropped
    actor text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now()
);
