-- Logins of batches that come faster than pools take them are kept without steps until there is room for these.

CREATE TABLE unplanned_workflow (
    workflow_id uuid PRIMARY KEY REFERENCES workflow ON DELETE CASCADE,
    accepted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unplanned_oldest ON unplanned_workflow (accepted_at);
