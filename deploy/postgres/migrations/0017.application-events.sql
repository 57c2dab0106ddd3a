-- What applications hear of: verdicts, switches, and notices that could not be delivered.

CREATE TABLE application_event (
    id uuid PRIMARY KEY,               -- also the webhook's delivery id
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text,                      -- null: it is about no user
    workflow_id uuid REFERENCES workflow ON DELETE CASCADE,  -- null: no login caused it
    type text NOT NULL,
    data jsonb NOT NULL,               -- what it says beside id, type, user and workflow
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'sent', 'given_up')),
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),  -- while an attempt is under way, when it counts as lost
    recorded_at timestamptz NOT NULL DEFAULT now(),
    keep_until timestamptz NOT NULL DEFAULT now() + interval '3 days',  -- then it is given up
    ended_at timestamptz,
    answer text                        -- the receiver's last one
);
CREATE INDEX application_event_due ON application_event (tenant_id, attempts, due_at) WHERE state = 'due';
CREATE INDEX application_event_kept ON application_event (keep_until) WHERE state = 'due';
CREATE INDEX application_event_of_none ON application_event (ended_at) WHERE workflow_id IS NULL;
CREATE INDEX application_event_unsent ON application_event (tenant_id, ended_at) WHERE state <> 'sent';
CREATE INDEX application_event_of_workflow ON application_event (workflow_id) WHERE workflow_id IS NOT NULL;

CREATE INDEX application_event_of_user ON application_event (tenant_id, user_id);

CREATE TABLE webhook_receiver (        -- one row a tenant that was to hear of something
    tenant_id text PRIMARY KEY REFERENCES tenant,
    busy_until timestamptz,            -- somebody is calling it, until then at the latest
    turn integer NOT NULL DEFAULT 1,   -- whose turn it is to call it: a step that comes too late does nothing
    called_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when the last turn began
    failures integer NOT NULL DEFAULT 0,  -- rounds in a row without an answer
    closed_until timestamptz,          -- it is left alone until then
    answered_at timestamptz            -- it did the last time
);

-- Whoever flips a switch, by whatever way, its application hears of it.
CREATE FUNCTION record_switch_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO application_event (id, tenant_id, user_id, workflow_id, type, data)
    SELECT
        gen_random_uuid(), changed.tenant_id, changed.user_id, changed.workflow_id, 'switch.changed',
        jsonb_build_object(
            'switch', changed.name, 'is_on', changed.is_on, 'changed_at', changed.changed_at,
            'by', CASE
                WHEN changed.workflow_id IS NOT NULL THEN 'verdict'
                WHEN changed.actor IS NOT NULL THEN 'operator'
                WHEN changed.reason = 'expired' THEN 'expiry'
                ELSE 'user'
            END
        )
    FROM changed
    JOIN tenant ON tenant.id = changed.tenant_id
    WHERE tenant.webhook_url IS NOT NULL AND coalesce(tenant.policy -> 'events' ? 'switch.changed', true);
    RETURN NULL;
END
$$;
CREATE TRIGGER record_switch_events AFTER INSERT ON switch_change
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION record_switch_events();
