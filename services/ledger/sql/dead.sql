-- name: given_up
-- Steps that will not be tried again by themselves, the oldest first; dropped ones only by their ids.
SELECT s.id, s.task, s.queue, s.state, s.reason, s.workflow_id, w.tenant_id, w.user_id,
       s.attempts, s.generation, s.finished_at AS given_up_at, s.dropped_at,
       s.message IS NOT NULL AS has_message, left(s.result, %(result_length)s) AS result,
       count(*) OVER () AS total
FROM step s LEFT JOIN workflow w ON w.id = s.workflow_id
WHERE s.state IN ('failed', 'dead')
  AND (s.dropped_at IS NULL OR %(with_dropped)s)
  AND (%(ids)s::text[] IS NULL OR s.id = ANY(%(ids)s::text[]))
  AND (%(queues)s::text[] IS NULL OR s.queue = ANY(%(queues)s::text[]))
  AND (%(task)s::text IS NULL OR s.task = %(task)s::text)
  AND (%(reason)s::text IS NULL OR s.reason = %(reason)s::text)
  AND (%(user)s::text IS NULL OR w.user_id = %(user)s::text)
  AND (%(workflow)s::uuid IS NULL OR s.workflow_id = %(workflow)s::uuid)
  AND (%(before)s::timestamptz IS NULL OR s.finished_at < %(before)s::timestamptz)
  AND (%(since)s::timestamptz IS NULL OR s.finished_at >= %(since)s::timestamptz)
ORDER BY s.finished_at, s.id
LIMIT %(limit)s

-- name: states
-- What the ledger knows of these steps, for telling a dead letter from what is left of one.
SELECT s.id, s.task, s.state, s.reason, s.generation, s.dropped_at, s.workflow_id, w.tenant_id,
       w.user_id, s.attempts, s.message IS NOT NULL AS has_message
FROM step s LEFT JOIN workflow w ON w.id = s.workflow_id WHERE s.id = ANY(%(ids)s)

-- name: whole_step
-- One step with everything that is kept of it.
SELECT s.id, s.task, s.queue, s.state, s.status, s.reason, s.workflow_id, w.name AS workflow,
       w.state AS workflow_state, w.tenant_id, w.user_id, s.generation, s.attempts, s.retries,
       s.redeliveries, s.host, s.sent_by, s.message, s.result, s.traceback, s.planned_at,
       s.published_at, s.started_at, s.finished_at, s.dropped_at
FROM step s LEFT JOIN workflow w ON w.id = s.workflow_id WHERE s.id = %(id)s

-- name: blocked_behind
-- The steps that wait for a replay of this one: those planned behind it, and those its message names.
WITH RECURSIVE behind AS (
    SELECT s.id FROM step s JOIN step f ON s.after @> ARRAY[f.id] AND s.workflow_id = f.workflow_id
    WHERE f.id = ANY(%(ids)s)
    UNION
    SELECT s.id FROM step s JOIN behind b ON s.after @> ARRAY[b.id]
    WHERE s.workflow_id = %(workflow)s
)
SELECT id, task, queue FROM step
WHERE state = 'blocked' AND (id IN (SELECT id FROM behind) OR id = ANY(%(ids)s))
ORDER BY position NULLS LAST, id

-- name: actions
-- What operators did about a step.
SELECT action, reason, generation, actor, acted_at FROM dead_letter_action
WHERE step_id = %(id)s ORDER BY id

-- name: lock_dead
-- The rows that an operator is to change; the same order as wherever steps are locked.
SELECT id, workflow_id, task, queue, state, reason, generation, message, dropped_at,
       message IS NOT NULL AS has_message
FROM step WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: begin_again
-- A new generation of given-up steps with fresh retries; the relay publishes what we cannot.
UPDATE step AS s SET
    task = coalesce(s.task, u.task), queue = u.queue, state = 'ready', status = 'PENDING',
    message = u.message, generation = u.generation, retries = 0, redeliveries = 0, republished = 0,
    replacements = 0,
    reason = NULL, result = NULL, traceback = NULL, children = NULL, due_at = NULL,
    ready_at = now(), published_at = NULL, finished_at = NULL, dropped_at = NULL,
    lease_until = NULL
FROM unnest(%(ids)s::text[], %(tasks)s::text[], %(queues)s::text[], %(messages)s::json[],
            %(generations)s::int[]) AS u(id, task, queue, message, generation)
WHERE s.id = u.id

-- name: appear_again
-- A step of which only its dead letter is known.
INSERT INTO step (id, task, queue, state, root_id, parent_id, message, generation, ready_at)
SELECT u.id, u.task, u.queue, 'ready', u.root_id, u.parent_id, u.message, u.generation, now()
FROM unnest(%(ids)s::text[], %(tasks)s::text[], %(queues)s::text[], %(roots)s::text[],
            %(parents)s::text[], %(messages)s::json[], %(generations)s::int[])
     AS u(id, task, queue, root_id, parent_id, message, generation)
ORDER BY u.id
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: forget_limits
-- Whoever was killed at its hard limit may run for that long again.
DELETE FROM hard_limit_passed WHERE step_id = ANY(%(ids)s)

-- name: lock_blocked_joins
-- Siblings that fail at this moment count before or after us, so that what is reopened is exact.
SELECT id FROM join_point WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: take_back_parts
-- The failures that the replayed steps left in their joins.
DELETE FROM join_part AS p
USING unnest(%(joins)s::text[], %(steps)s::text[]) AS u(join_id, step_id)
WHERE p.join_id = u.join_id AND p.step_id = u.step_id AND p.status <> 'SUCCESS'

-- name: reopen_joins
-- Joins in which no other leaf has failed wait for their leaves again.
UPDATE join_point AS j SET state = 'open', fired_at = NULL
WHERE j.id = ANY(%(ids)s) AND j.state = 'blocked'
  AND NOT EXISTS (SELECT 1 FROM join_part p WHERE p.join_id = j.id AND p.status <> 'SUCCESS')
RETURNING j.id

-- name: reopen_steps
-- What was planned and blocked behind these steps, unless it is behind another failure too.
WITH RECURSIVE own AS MATERIALIZED (
    SELECT id, state, after FROM step WHERE workflow_id = ANY(%(workflows)s)
), behind AS (
    SELECT id FROM own WHERE after && %(ids)s
    UNION
    SELECT s.id FROM own s JOIN behind b ON s.after @> ARRAY[b.id] WHERE s.state = 'blocked'
), held AS (
    SELECT s.id FROM own s JOIN own f ON f.state IN ('failed', 'dead') AND s.after @> ARRAY[f.id]
    UNION
    SELECT s.id FROM own s JOIN held h ON s.after @> ARRAY[h.id]
), wanted AS (
    SELECT id FROM behind UNION SELECT unnest(%(ids)s::text[]) EXCEPT SELECT id FROM held
)
UPDATE step SET
    state = 'planned', status = 'PENDING', reason = NULL, result = NULL, traceback = NULL,
    children = NULL, finished_at = NULL
WHERE id = ANY(ARRAY(SELECT id FROM wanted)) AND state = 'blocked' AND position IS NOT NULL

-- name: forget_blocked
-- Blocked steps that nobody planned are there for their result alone; they appear again when they are sent.
DELETE FROM step WHERE id = ANY(%(ids)s) AND state = 'blocked' AND position IS NULL

-- name: lock_dead_workflows
-- The same order as wherever workflows are locked, and after their steps.
SELECT id FROM workflow WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: reopen_workflows
-- Ended workflows go on; a new generation once for each of them and replay.
UPDATE workflow SET
    state = 'accepted', finished_at = NULL,
    generation = generation + CASE WHEN id = ANY(%(new)s) THEN 1 ELSE 0 END
WHERE id = ANY(%(ids)s)

-- name: drop_steps
-- They stay what they are, but nobody is asked about them any more. What still waited is dead.
UPDATE step AS s SET
    dropped_at = now(), finished_at = coalesce(s.finished_at, now()),
    state = CASE WHEN s.state IN ('ready', 'retrying') THEN 'dead' ELSE s.state END,
    reason = coalesce(s.reason, u.reason)
FROM unnest(%(ids)s::text[], %(reasons)s::text[]) AS u(id, reason) WHERE s.id = u.id

-- name: note_actions
-- Who did what, and to which generation.
INSERT INTO dead_letter_action (action, step_id, workflow_id, task, queue, reason, generation, actor)
SELECT %(action)s, u.step_id, u.workflow_id, u.task, u.queue, u.reason, u.generation, %(actor)s
FROM unnest(%(ids)s::text[], %(workflows)s::uuid[], %(tasks)s::text[], %(queues)s::text[],
            %(reasons)s::text[], %(generations)s::int[])
     AS u(step_id, workflow_id, task, queue, reason, generation)

-- name: workflow_states
-- A workflow and how many of its steps can be replayed.
SELECT w.state, count(s.id) FILTER (WHERE s.state IN ('failed', 'dead')) AS given_up
FROM workflow w LEFT JOIN step s ON s.workflow_id = w.id WHERE w.id = %(id)s GROUP BY w.id

-- name: count_published
-- How many steps the broker should still hold of each queue; those without a message cannot be sent again.
SELECT queue, count(message) AS steps, count(*) - count(message) AS without_message,
       count(message) FILTER (WHERE due_at > clock_timestamp()) AS delayed
FROM step
WHERE state IN ('ready', 'retrying') AND published_at < %(before)s
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
GROUP BY queue ORDER BY queue

-- name: take_published
-- The next of them; rows that somebody is working on at this moment are not lost.
SELECT message, extract(epoch FROM due_at - clock_timestamp())::float8 AS remaining FROM step
WHERE state IN ('ready', 'retrying') AND published_at < %(before)s AND message IS NOT NULL
  AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
  AND queue <> ALL(%(except_queues)s::text[])
ORDER BY published_at, id LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED

-- name: note_republished
-- The broker has these again. The rows are locked since they were taken.
UPDATE step SET published_at = now() WHERE id = ANY(%(ids)s)
