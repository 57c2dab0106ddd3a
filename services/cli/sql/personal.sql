-- name: tenant
-- The key to a tenant's users' pseudonyms.
SELECT pseudonym_key FROM tenant WHERE id = %(tenant)s

-- name: under_way
-- What is still being done for a user.
SELECT (SELECT count(*) FROM workflow WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND state = 'accepted')
    + (SELECT count(*) FROM notice AS n JOIN workflow AS w ON w.id = n.workflow_id
       WHERE w.tenant_id = %(tenant)s AND w.user_id = %(user)s AND n.state IN ('recorded', 'sending')) AS items

-- name: erasure
-- How far an erasure is, its certificate, and the key by which that is signed.
SELECT erasure.id, erasure.user_id IS NOT NULL AS is_pending, certificate, workflow.state, tenant.cookie_key AS key
FROM erasure JOIN tenant ON tenant.id = erasure.tenant_id LEFT JOIN workflow ON workflow.id = erasure.id
WHERE erasure.id = %(id)s

-- name: given_up_steps
-- Steps of a workflow that are given up, and why.
SELECT id, task, reason FROM step
WHERE workflow_id = %(id)s AND state IN ('failed', 'dead') AND dropped_at IS NULL
ORDER BY position
