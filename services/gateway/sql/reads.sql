-- name: find_workflows
-- A tenant's workflows by id.
SELECT id, name, state, user_id, event_id, accepted_at, finished_at
FROM workflow WHERE tenant_id = %(tenant)s AND id = %(workflow)s

-- name: page_of_workflows
-- A user's workflows, youngest first, from after a given one.
SELECT id, name, state, user_id, event_id, accepted_at, finished_at
FROM workflow
WHERE tenant_id = %(tenant)s AND user_id = %(user)s
    AND (%(before)s::timestamptz IS NULL OR (accepted_at, id) < (%(before)s, %(before_id)s::uuid))
ORDER BY accepted_at DESC, id DESC
LIMIT %(limit)s

-- name: workflow_of_step
-- A tenant's workflow by the id of any of its steps.
SELECT w.id, w.name, w.state, w.user_id, w.event_id, w.accepted_at, w.finished_at
FROM step JOIN workflow AS w ON w.id = step.workflow_id
WHERE w.tenant_id = %(tenant)s AND step.id = %(step)s

-- name: steps_of_workflows
-- The steps of some workflows in the order in which they were planned. Results are not for whoever asks here.
SELECT workflow_id, id, task, queue, state, position, after, sent_by, parent_id, canvas, message, attempts, retries,
    redeliveries, replacements, reason, planned_at, ready_at, due_at, started_at, finished_at, host
FROM step WHERE workflow_id = ANY (%(workflows)s)
ORDER BY workflow_id, position NULLS LAST, planned_at, id

-- name: verdicts_of_workflows
-- The verdicts of some workflows.
SELECT workflow_id, level, action, score, reasons, model_version, request_id, stored_at,
    coalesce(late, false) AS late
FROM verdict WHERE workflow_id = ANY (%(workflows)s)

-- name: devices_of_user
-- A user's devices, the last seen first.
SELECT id AS device_id, description, first_seen_at, last_seen_at
FROM device
WHERE tenant_id = %(tenant)s AND user_id = %(user)s
ORDER BY last_seen_at DESC, id
LIMIT %(limit)s

-- name: switches_of_user
-- A user's switches, as far as they were ever changed. One whose time is over is off, whoever notes that later.
SELECT name, is_on AND coalesce(expires_at > now(), true) AS is_on, changed_at,
    CASE WHEN is_on AND expires_at > now() THEN expires_at END AS expires_at
FROM switch WHERE tenant_id = %(tenant)s AND user_id = %(user)s

-- name: archive
-- What an export of a tenant's user was packed into.
SELECT archive FROM export_archive JOIN workflow ON workflow.id = workflow_id
WHERE tenant_id = %(tenant)s AND workflow_id = %(workflow)s

-- name: erasure
-- How far an erasure of a tenant's user is, and its certificate once there is one. One that was begun before there were certificates
-- has no workflow.
SELECT erasure.id AS erasure_id, asked_at, certificate, CASE
    WHEN certificate IS NOT NULL OR (erasure.user_id IS NULL AND workflow.id IS NULL AND forgotten_at IS NOT NULL) THEN 'done'
    WHEN erasure.user_id IS NULL THEN 'superseded'
    WHEN workflow.state = 'accepted' AND EXISTS (
        SELECT FROM step WHERE step.workflow_id = workflow.id AND step.state = 'done'
    ) THEN 'running'
    ELSE coalesce(workflow.state, 'accepted')
END AS state
FROM erasure LEFT JOIN workflow ON workflow.id = erasure.id
WHERE erasure.tenant_id = %(tenant)s AND erasure.id = %(erasure)s
