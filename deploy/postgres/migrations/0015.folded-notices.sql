-- Beyond so many mails an hour to one user, sign-ins on new devices are told of together.

CREATE TABLE folded_notice (           -- one row a login that is told of with others
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    folded_at timestamptz NOT NULL DEFAULT now(),
    told_in uuid                       -- the last of those that are told of together; null: not yet
);
CREATE INDEX folded_notice_open ON folded_notice (tenant_id, user_id, folded_at) WHERE told_in IS NULL;
CREATE INDEX folded_notice_told ON folded_notice (told_in) WHERE told_in IS NOT NULL;

-- Rows that are there have one of the old reasons: no need to read them while the table is locked.
ALTER TABLE notice DROP CONSTRAINT notice_reason_check;
ALTER TABLE notice ADD CONSTRAINT notice_reason_check
    CHECK (reason IN ('new_device', 'verdict', 'folded')) NOT VALID;
