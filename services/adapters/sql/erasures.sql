-- name: erasure
-- Whom an erasure that is not done yet is about, whether the rows are gone, and how many went before.
SELECT tenant_id, user_id, erased_at IS NOT NULL AS is_erased, erased FROM erasure WHERE id = %(id)s AND user_id IS NOT NULL

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
) OR EXISTS (SELECT FROM notice WHERE notice.workflow_id = locked.id AND notice.state IN ('recorded', 'sending'))

-- name: switches_on
-- The user's switches that are on, and those of which the application was not told yet that they went with an erasure.
SELECT name FROM switch WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND is_on
UNION
SELECT data ->> 'switch' FROM application_event
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND type = 'switch.changed' AND data ->> 'by' = 'erasure' AND state = 'due'

-- name: tell_off
-- The application hears that these are off, as it does of every flip: nothing else is left that could tell it.
INSERT INTO application_event (id, tenant_id, user_id, type, data)
SELECT
    gen_random_uuid(), tenant.id, %(user)s, 'switch.changed',
    jsonb_build_object('switch', gone.name, 'is_on', false, 'changed_at', now(), 'by', 'erasure')
FROM unnest(%(names)s::text[]) AS gone (name)
JOIN tenant ON tenant.id = %(tenant)s
WHERE tenant.webhook_url IS NOT NULL AND coalesce(tenant.policy -> 'events' ? 'switch.changed', true)

-- name: forget_told
-- What the application has heard of the erasure goes too, and what it has not taken for so long; both count as deleted.
WITH gone AS (
    DELETE FROM application_event AS it USING erasure
    WHERE erasure.id = %(id)s AND it.tenant_id = erasure.tenant_id AND it.user_id = erasure.user_id
        AND it.type = 'switch.changed' AND it.data ->> 'by' = 'erasure'
        AND (it.state <> 'due' OR it.recorded_at < clock_timestamp() - make_interval(secs => %(seconds)s))
    RETURNING it.id
)
UPDATE erasure SET erased = jsonb_set(
    coalesce(erased, '{}'), '{application_event}', to_jsonb(coalesce((erased ->> 'application_event')::bigint, 0) + counted.rows)
)
FROM (SELECT count(*) AS rows FROM gone) AS counted
WHERE erasure.id = %(id)s AND counted.rows > 0

-- name: untold
-- A row while the application is yet to hear of the erasure.
SELECT it.id FROM application_event AS it JOIN erasure ON erasure.tenant_id = it.tenant_id AND erasure.user_id = it.user_id
WHERE erasure.id = %(id)s AND it.type = 'switch.changed' AND it.data ->> 'by' = 'erasure'
LIMIT 1

-- name: keep_letters
-- Which of the user's steps are given up: their messages may be dead letters.
INSERT INTO erasure_letter (erasure_id, step_id, queue)
SELECT %(id)s, step.id, step.queue FROM step JOIN workflow ON workflow.id = step.workflow_id
WHERE workflow.tenant_id = %(tenant)s AND workflow.user_id = %(user)s
    AND step.state IN ('failed', 'dead') AND step.dropped_at IS NULL AND step.queue IS NOT NULL
ON CONFLICT DO NOTHING

-- name: letters
-- The steps whose messages may be dead letters.
SELECT queue, array_agg(step_id ORDER BY step_id) AS ids FROM erasure_letter WHERE erasure_id = %(id)s GROUP BY queue

-- name: note_copies
-- What was exported is gone.
UPDATE erasure SET erased = %(rows)s::jsonb WHERE id = %(id)s

-- name: note_erased
-- The rows are gone.
UPDATE erasure SET erased_at = clock_timestamp(), erased = %(rows)s::jsonb WHERE id = %(id)s

-- name: note_forgotten
-- No place is left but ours. An erasure that was begun before there were certificates has no workflow, and is done with this.
UPDATE erasure SET
    forgotten_at = clock_timestamp(), outlier_api = %(answer)s,
    user_id = CASE WHEN EXISTS (SELECT FROM workflow WHERE workflow.id = erasure.id) THEN user_id END
WHERE id = %(id)s

-- name: evidence
-- What an erasure that is not done yet has done. A dead letter names its user in the label that monitors show.
SELECT tenant_id, user_id, pseudonym, asked_at, asked_by, erased_at, coalesce(erased, '{}') AS erased, forgotten_at, outlier_api,
    clock_timestamp() AS looked_at, tenant.cookie_key AS key,
    (SELECT count(*) FROM erasure_letter WHERE erasure_id = erasure.id) AS dead_letters,
    (SELECT count(*) FROM step
     WHERE step.state IN ('failed', 'dead') AND step.dropped_at IS NULL
        AND strpos(step.message -> 'headers' ->> 'kwargsrepr', '''user'': ''' || pseudonym || '''') > 0
        AND NOT EXISTS (SELECT FROM erasure AS other WHERE other.id = step.workflow_id)) AS dead_letters_left
FROM erasure JOIN tenant ON tenant.id = tenant_id
WHERE erasure.id = %(id)s AND user_id IS NOT NULL
FOR NO KEY UPDATE OF erasure

-- name: certify
-- It is done: only the pseudonym is left of the user.
WITH cleared AS (
    DELETE FROM erasure_letter WHERE erasure_id = %(id)s
)
UPDATE erasure SET user_id = NULL, certificate = %(certificate)s::jsonb, certified_at = clock_timestamp() WHERE id = %(id)s
