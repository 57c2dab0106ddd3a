-- Users who want no mails about new devices.

CREATE TABLE unsubscribed (
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    unsubscribed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);

-- Rows that are there have one of the old acts: no need to read them while the table is locked.
ALTER TABLE notice_answer DROP CONSTRAINT notice_answer_act_check;
ALTER TABLE notice_answer ADD CONSTRAINT notice_answer_act_check
    CHECK (act IN ('confirm', 'disown', 'unsubscribe')) NOT VALID;
