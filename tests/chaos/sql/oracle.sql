-- name: workflows
-- Every workflow of these events: one for each event that was accepted.
SELECT id::text, event_id, user_id, state, accepted_at, finished_at
FROM workflow WHERE event_id = ANY(%(events)s)

-- name: unfinished
-- How many workflows of these events are open or have a step that can still go on.
SELECT count(*) AS unfinished FROM workflow AS w
WHERE w.event_id = ANY(%(events)s) AND (
    w.state = 'accepted' OR EXISTS (
        SELECT FROM step AS s
        WHERE s.workflow_id = w.id AND s.state NOT IN ('done', 'failed', 'dead', 'blocked')
    )
)

-- name: steps
-- All steps of some workflows.
SELECT workflow_id::text, id, task, queue, state, attempts, retries, redeliveries, republished,
    extract(epoch FROM ready_at)::float8 AS ready_at,
    extract(epoch FROM greatest(ready_at, due_at))::float8 AS waits_since,
    extract(epoch FROM published_at)::float8 AS published_at,
    extract(epoch FROM started_at)::float8 AS started_at,
    extract(epoch FROM finished_at)::float8 AS finished_at,
    right(traceback, 300) AS traceback
FROM step WHERE workflow_id = ANY(%(workflows)s::uuid[])
ORDER BY workflow_id, position NULLS LAST, ready_at

-- name: logins
-- Which of some workflows have their login stored.
SELECT workflow_id::text FROM login WHERE workflow_id = ANY(%(workflows)s::uuid[])

-- name: verdicts
-- The verdicts of some workflows.
SELECT workflow_id::text, level FROM verdict WHERE workflow_id = ANY(%(workflows)s::uuid[])

-- name: devices
-- How many devices some users have, and how many of them count as their first.
SELECT user_id, count(*) AS devices, count(*) FILTER (WHERE first_of_user) AS firsts
FROM device WHERE user_id = ANY(%(users)s) GROUP BY user_id

-- name: notices
-- The notices of some workflows, with their receipts, and when their sending was first noted.
SELECT n.id::text, n.workflow_id::text, n.user_id, n.reason, n.channel, n.state,
    (SELECT count(*) FROM receipt AS r WHERE r.notice_id = n.id) AS receipts,
    extract(epoch FROM n.sent_at)::float8 AS sent_at
FROM notice AS n WHERE n.workflow_id = ANY(%(workflows)s::uuid[])

-- name: application_events
-- What the application was to hear of some workflows, and when that was first noted as sent.
SELECT id::text, workflow_id::text, user_id, type, state, data, extract(epoch FROM ended_at)::float8 AS sent_at
FROM application_event WHERE workflow_id = ANY(%(workflows)s::uuid[])

-- name: untold
-- How much of these events' workflows the application is still to hear.
SELECT count(*) AS untold FROM application_event AS e JOIN workflow AS w ON w.id = e.workflow_id
WHERE w.event_id = ANY(%(events)s) AND e.state = 'due'

-- name: switch_changes
-- The audit trail of some users' switches.
SELECT user_id, name, count(*) AS changes
FROM switch_change WHERE user_id = ANY(%(users)s) GROUP BY user_id, name

-- name: failures
-- What the error callbacks of some workflows noted.
SELECT workflow_id::text, level FROM failed_step WHERE workflow_id = ANY(%(workflows)s::uuid[])
