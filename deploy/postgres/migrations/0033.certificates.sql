-- An erasure is asked for by somebody, and ends in a signed certificate.

ALTER TABLE erasure
    ADD COLUMN asked_by text,          -- an operator, or an API key by its name in `doorbell key list`
    ADD COLUMN certified_at timestamptz,
    ADD COLUMN certificate jsonb;      -- names no user: services.domain.certificate
CREATE INDEX erasure_of_pseudonym ON erasure (tenant_id, pseudonym);

-- The user's steps that were given up, until nothing of them is left in the dead-letter queues.
CREATE TABLE erasure_letter (
    erasure_id uuid NOT NULL REFERENCES erasure ON DELETE CASCADE,
    step_id text NOT NULL,
    queue text NOT NULL,               -- the work queue whose consumers gave it up
    PRIMARY KEY (erasure_id, step_id)
);
