-- name: erasure
-- Whom an erasure that is not done yet is about, and whether the rows are gone.
SELECT tenant_id, user_id, erased_at IS NOT NULL AS is_erased FROM erasure WHERE id = %(id)s AND user_id IS NOT NULL

-- name: one_snapshot
-- All that follows sees the rows of one moment: a login that is accepted meanwhile is left whole.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- name: lock_user
-- Nobody adds devices to the user until the transaction ends, as with `lock_users`.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x1f', 'device', %(tenant)s::text, %(user)s::text), 0))

-- name: lock_workflows
-- Keep the user's workflows as they are, in one order; returns those at which somebody is at work.
SELECT locked.id
FROM (
    SELECT id, state FROM workflow WHERE tenant_id = %(tenant)s AND user_id = %(user)s ORDER BY id FOR UPDATE
) AS locked
WHERE locked.state = 'accepted' OR EXISTS (
    SELECT FROM step JOIN verdict ON verdict.workflow_id = locked.id
    WHERE step.finished_at IS NULL AND step.id IN (
        'rescore-' || locked.id || '-' || verdict.asks || '-score', 'rescore-' || locked.id || '-' || verdict.asks || '-apply'
    )
)

-- name: note_erased
-- The rows are gone.
UPDATE erasure SET erased_at = clock_timestamp(), erased = %(rows)s::jsonb WHERE id = %(id)s

-- name: note_forgotten
-- It is done: only the pseudonym is left of the user.
UPDATE erasure SET user_id = NULL, forgotten_at = clock_timestamp(), outlier_api = %(answer)s WHERE id = %(id)s
