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

-- name: pending
-- Erasures of this user that were asked for before and are not done.
SELECT id FROM erasure WHERE tenant_id = %(tenant)s AND user_id = %(user)s

-- name: supersede
-- They are done by the one that is asked for now.
UPDATE erasure SET user_id = NULL WHERE tenant_id = %(tenant)s AND user_id = %(user)s

-- name: ask_no_more
-- Logins of this user that have no score are not asked about again.
UPDATE verdict SET ask_at = NULL
FROM workflow WHERE workflow.id = verdict.workflow_id AND workflow.tenant_id = %(tenant)s AND workflow.user_id = %(user)s
    AND verdict.ask_at IS NOT NULL

-- name: ask
-- Somebody wants a user erased.
INSERT INTO erasure (id, tenant_id, user_id, pseudonym) VALUES (%(id)s, %(tenant)s, %(user)s, %(pseudonym)s)

-- name: outcome
-- What became of it.
SELECT forgotten_at, erased, outlier_api FROM erasure WHERE id = %(id)s

-- name: given_up_steps
-- Steps of these ids that are given up, and why.
SELECT id, reason, left(result, 200) AS result FROM step
WHERE id = ANY(%(ids)s) AND state IN ('failed', 'dead') AND dropped_at IS NULL
