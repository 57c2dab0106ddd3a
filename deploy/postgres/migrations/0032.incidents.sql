-- transactional: false
-- Switches that are turned on for many users at once, what became of each, and the notices about them.
-- One that was broken off is begun anew.

CREATE TABLE IF NOT EXISTS incident (
    id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,  -- the workflow that turns the switches on
    tenant_id text NOT NULL REFERENCES tenant,
    switch text NOT NULL CHECK (switch IN ('require_step_up', 'locked')),
    reason text NOT NULL,
    actor text NOT NULL,
    expire_seconds double precision,   -- so long later a switch goes off by itself; null: never
    per_second double precision,       -- so many users a second; null: as fast as it goes
    network cidr,                      -- who signed in from there; null: the users were named
    since timestamptz,                 -- from when on
    begun_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz,            -- from then on no switch is turned on, and nobody is told
    undo_id uuid,                      -- the workflow that takes it back, the last of them
    undone_by text
);
CREATE INDEX IF NOT EXISTS incident_by_age ON incident (begun_at);

CREATE TABLE IF NOT EXISTS incident_user (
    incident_id uuid NOT NULL REFERENCES incident ON DELETE CASCADE,
    position integer NOT NULL,         -- its steps name users by that
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    outcome text CHECK (               -- null: not yet
        outcome IN ('switched', 'prolonged', 'on_before', 'never_locked', 'unknown', 'undone', 'changed_since')
    ),
    changed_at timestamptz,            -- the switch as this left it: who finds it otherwise knows that somebody has changed it
    expires_at timestamptz,
    expired_at timestamptz,            -- when one that was on would have gone off
    told_at timestamptz,               -- since when the user is to be told
    PRIMARY KEY (incident_id, position)
);
CREATE INDEX IF NOT EXISTS incident_user_of_user ON incident_user (tenant_id, user_id);

ALTER TABLE switch_change ADD COLUMN IF NOT EXISTS incident_id uuid;  -- null: it was flipped for no incident
ALTER TABLE notice ADD COLUMN IF NOT EXISTS incident_id uuid;         -- null: it tells of a sign-in

-- Rows that are there have one of the old reasons: no need to read them while the table is locked.
ALTER TABLE notice DROP CONSTRAINT IF EXISTS notice_reason_check;
ALTER TABLE notice ADD CONSTRAINT notice_reason_check
    CHECK (reason IN ('new_device', 'verdict', 'folded', 'lockdown')) NOT VALID;

-- A user who does not sign in between two incidents is told of both by way of the same sign-in.
DROP INDEX CONCURRENTLY IF EXISTS notice_once;
CREATE UNIQUE INDEX CONCURRENTLY notice_once
    ON notice (workflow_id, reason, channel, coalesce(incident_id, '00000000-0000-0000-0000-000000000000'));
ALTER TABLE notice DROP CONSTRAINT IF EXISTS notice_workflow_id_reason_channel_key;
DROP INDEX CONCURRENTLY IF EXISTS notice_of_incident;
CREATE INDEX CONCURRENTLY notice_of_incident ON notice (incident_id) WHERE incident_id IS NOT NULL;

-- As before, and of an incident's switches which one's.
CREATE OR REPLACE FUNCTION record_switch_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO application_event (id, tenant_id, user_id, workflow_id, type, data)
    SELECT
        gen_random_uuid(), changed.tenant_id, changed.user_id, changed.workflow_id, 'switch.changed',
        jsonb_strip_nulls(jsonb_build_object(
            'switch', changed.name, 'is_on', changed.is_on, 'changed_at', changed.changed_at,
            'by', CASE
                WHEN changed.workflow_id IS NOT NULL THEN 'verdict'
                WHEN changed.incident_id IS NOT NULL THEN 'incident'
                WHEN changed.actor IS NOT NULL THEN 'operator'
                WHEN changed.reason = 'expired' THEN 'expiry'
                ELSE 'user'
            END,
            'incident_id', changed.incident_id
        ))
    FROM changed
    JOIN tenant ON tenant.id = changed.tenant_id
    WHERE tenant.webhook_url IS NOT NULL AND coalesce(tenant.policy -> 'events' ? 'switch.changed', true);
    RETURN NULL;
END
$$;
