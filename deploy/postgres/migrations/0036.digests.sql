-- Once a day users hear of all their sign-ins of the day before, where their tenant's policy says so.

ALTER TABLE login ADD COLUMN digest_day date;  -- the day, by the clock where it was, whose digest tells of it; null: none does

CREATE TABLE digest (                  -- one row a user and day with sign-ins
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    day date NOT NULL,
    due_at timestamptz NOT NULL,       -- the day after, at the policy's hour by the user's clock
    workflow_id uuid UNIQUE REFERENCES workflow ON DELETE CASCADE,  -- null: not begun
    told_in uuid,                      -- one of the day's logins: where its notice stands, and to whose address it goes
    other_devices integer,             -- those that are told of together
    other_logins integer,
    PRIMARY KEY (tenant_id, user_id, day)
);
CREATE INDEX digest_due ON digest (due_at) WHERE workflow_id IS NULL;
CREATE UNIQUE INDEX digest_told ON digest (told_in) WHERE told_in IS NOT NULL;

CREATE TABLE digest_device (           -- the devices that a digest tells of one by one
    workflow_id uuid NOT NULL REFERENCES workflow ON DELETE CASCADE,
    position integer NOT NULL,
    device_id uuid NOT NULL,
    logins integer,                    -- on the day; null: not counted yet, as the next two
    is_new boolean,                    -- the day's sign-ins brought it
    last_id uuid,                      -- the last of them
    PRIMARY KEY (workflow_id, position)
);

-- Rows that are there have one of the old reasons: no need to read them while the table is locked.
ALTER TABLE notice DROP CONSTRAINT notice_reason_check;
ALTER TABLE notice ADD CONSTRAINT notice_reason_check
    CHECK (reason IN ('new_device', 'verdict', 'folded', 'lockdown', 'digest')) NOT VALID;
