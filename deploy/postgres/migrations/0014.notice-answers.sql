-- What users answered to notices, by the links in them.

CREATE TABLE notice_answer (           -- each link acts once
    notice_id uuid NOT NULL REFERENCES notice ON DELETE CASCADE,
    act text NOT NULL CHECK (act IN ('confirm', 'disown')),
    answered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (notice_id, act)
);
