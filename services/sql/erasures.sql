-- name: lock_erasures
-- Of two who want the same user erased at one moment the second waits.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x1f', 'erasure', %(tenant)s::text, %(user)s::text), 0))

-- name: before
-- Erasures of this user that were asked for before, and whether they are being done.
SELECT erasure.id, erased_at IS NOT NULL AS is_erased,
    erasure.user_id IS NOT NULL AND coalesce(workflow.state = 'accepted', false) AS is_under_way
FROM erasure LEFT JOIN workflow ON workflow.id = erasure.id
WHERE erasure.tenant_id = %(tenant)s AND (erasure.user_id = %(user)s OR erasure.pseudonym = %(pseudonym)s)

-- name: farewells
-- How many rows there are only for the application to hear that switches went with an erasure.
SELECT count(*) AS rows FROM application_event
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND type = 'switch.changed' AND data ->> 'by' = 'erasure'

-- name: ask
-- Somebody wants a user erased.
INSERT INTO erasure (id, tenant_id, user_id, pseudonym, asked_by)
VALUES (%(id)s, %(tenant)s, %(user)s, %(pseudonym)s, %(asked_by)s)

-- name: take_over
-- What those of before knew of dead letters; their own steps that were given up are given up no more, and their letters go too.
WITH pending AS (
    SELECT id FROM erasure WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND id <> %(id)s
),
known AS (
    UPDATE erasure_letter SET erasure_id = %(id)s FROM pending WHERE erasure_id = pending.id
),
dropped AS (
    UPDATE step SET dropped_at = now() FROM pending
    WHERE step.workflow_id = pending.id AND step.state IN ('failed', 'dead') AND step.dropped_at IS NULL
    RETURNING step.id, step.queue
)
INSERT INTO erasure_letter (erasure_id, step_id, queue)
SELECT %(id)s, id, queue FROM dropped WHERE queue IS NOT NULL
ON CONFLICT DO NOTHING

-- name: supersede
-- They are done by the one that is asked for now.
UPDATE erasure SET user_id = NULL WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND id <> %(id)s

-- name: ask_no_more
-- Logins of this user that have no score are not asked about again.
UPDATE verdict SET ask_at = NULL
FROM workflow WHERE workflow.id = verdict.workflow_id AND workflow.tenant_id = %(tenant)s AND workflow.user_id = %(user)s
    AND verdict.ask_at IS NOT NULL

-- name: note
-- One row of the trail.
INSERT INTO operator_action (command, subject, actor) VALUES ('users erase', %(subject)s, %(actor)s)
