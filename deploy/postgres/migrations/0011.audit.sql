-- Who did what, of the commands that leave no row of their own elsewhere.

CREATE TABLE operator_action (     -- the audit trail: one row a command
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command text NOT NULL,         -- as `doorbell` has it, without what follows
    subject text NOT NULL,         -- what it was about; never a person, a key or an address
    actor text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now()
);
