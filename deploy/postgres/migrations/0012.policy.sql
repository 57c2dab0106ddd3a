-- What a tenant wants done about verdicts, and switches that go off by themselves.

ALTER TABLE tenant
    ADD COLUMN policy jsonb,           -- null: what everybody has who has set none
    ADD COLUMN policy_file text;       -- as its operator wrote it

ALTER TABLE verdict                    -- null: unscored, or written by a release before this one
    ADD COLUMN switches text[],        -- that the policy wanted on
    ADD COLUMN withheld text[],        -- those of them that stayed off, since somebody had just turned them off
    ADD COLUMN notice_due boolean,     -- it wanted the user told
    ADD COLUMN dry_run boolean;        -- nothing of it was done

ALTER TABLE switch
    ADD COLUMN expires_at timestamptz, -- null: on until somebody turns it off
    ADD COLUMN unlocked_at timestamptz, -- since when it is off by hand; null: it is on, or went off by itself
    ADD COLUMN turned_on_by uuid;      -- the workflow whose verdict did; null: somebody by hand
