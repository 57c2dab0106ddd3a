-- name: tenant
-- The key to a tenant's users' pseudonyms.
SELECT pseudonym_key FROM tenant WHERE id = %(tenant)s

-- name: under_way
-- What is still being done for a user.
SELECT (SELECT count(*) FROM workflow WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND state = 'accepted')
    + (SELECT count(*) FROM notice AS n JOIN workflow AS w ON w.id = n.workflow_id
       WHERE w.tenant_id = %(tenant)s AND w.user_id = %(user)s AND n.state IN ('recorded', 'sending')) AS items

-- name: given_up
-- A user's steps whose messages are kept as dead letters.
SELECT s.id FROM step AS s JOIN workflow AS w ON w.id = s.workflow_id
WHERE w.tenant_id = %(tenant)s AND w.user_id = %(user)s AND s.state IN ('failed', 'dead') AND s.dropped_at IS NULL

-- name: ask
-- Somebody wants a user erased.
INSERT INTO erasure (id, tenant_id, user_id, pseudonym) VALUES (%(id)s, %(tenant)s, %(user)s, %(pseudonym)s)

-- name: outcome
-- What became of it.
SELECT erased_at, erased, outlier_api FROM erasure WHERE id = %(id)s
