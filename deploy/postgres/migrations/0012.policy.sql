-- What a tenant wants done about verdicts, and switches that go off by themselves.

ALTER TABLE tenant
    ADD COLUMN policy jsonb,           -- null: what everybody has who has set none
    ADD COLUMN policy_file text;       -- as its operator wrote it

ALTER TABLE verdict                    -- null: written by a release before this one
    ADD COLUMN switches text[],        -- that the policy wanted on
    ADD COLUMN notice_due boolean,     -- it wanted the user told
    ADD COLUMN dry_run boolean;        -- nothing of it was done

ALTER TABLE switch
    ADD COLUMN expires_at timestamptz, -- null: on until somebody turns it off
    ADD COLUMN turned_on_by uuid;      -- the workflow whose verdict did; null: somebody by hand
CREATE INDEX switch_expiring ON switch (expires_at) WHERE is_on AND expires_at IS NOT NULL;
