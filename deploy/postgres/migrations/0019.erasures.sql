-- Users whose data somebody wants gone; what is left afterwards says that it was done.

CREATE TABLE erasure (
    id uuid PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text,                      -- null: it is done, or was asked for again
    pseudonym text NOT NULL,           -- the user's in monitors; by the tenant's key alone it leads back
    asked_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz,
    erased jsonb,                      -- how many rows, by table
    forgotten_at timestamptz,
    outlier_api text                   -- what that answered
);
CREATE INDEX erasure_pending ON erasure (tenant_id, user_id) WHERE user_id IS NOT NULL;
