-- name: turn_on_for_good
-- Turn these users' switches on until somebody turns them off, each flip with its row in the audit trail.
WITH turned AS (
    INSERT INTO switch (tenant_id, user_id, name, is_on)
    SELECT wanted.tenant_id, wanted.user_id, wanted.name, true
    FROM unnest(%(tenants)s::text[], %(users)s::text[], %(names)s::text[]) AS wanted (tenant_id, user_id, name)
    ORDER BY wanted.tenant_id, wanted.user_id, wanted.name
    ON CONFLICT (tenant_id, user_id, name)
    DO UPDATE SET is_on = true, changed_at = now(), expires_at = NULL, unlocked_at = NULL, turned_on_by = NULL
    WHERE NOT switch.is_on OR switch.expires_at IS NOT NULL
    RETURNING tenant_id, user_id, name
)
INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, actor)
SELECT tenant_id, user_id, name, true, %(reason)s, %(actor)s FROM turned
