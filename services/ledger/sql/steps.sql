-- name: limit_statements
-- A step's soft limit holds inside PostgreSQL too, and a row that a stopped process holds locked
-- holds up nobody for long.
SELECT set_config('statement_timeout', %(run_milliseconds)s, %(transaction_only)s),
       set_config('lock_timeout', %(lock_milliseconds)s, %(transaction_only)s)

-- name: lock_steps
-- The rows of delivered steps, locked in one order so that two batches cannot deadlock.
SELECT id, workflow_id, state, status, retries, generation, redeliveries, attempts, replacements,
       result, published_at, message IS NOT NULL AS has_message, extract(epoch FROM now() - greatest(ready_at, due_at))::float8 AS waited_seconds,
       (SELECT CASE WHEN p.drops THEN 'drop' ELSE 'defer' END FROM pause AS p
        WHERE p.task = step.task AND p.resumed_at IS NULL) AS pause,
       EXISTS (SELECT FROM rate_limit AS l WHERE l.task = step.task AND l.lifted_at IS NULL) AS is_limited
FROM step WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: appear
-- Rows for steps that were sent by hand and are seen for the first time. A probe whose row is gone
-- proves nothing: nobody knows when it was published.
INSERT INTO step (id, task, queue, state, root_id, parent_id, retries, canvas, ready_at, published_at)
SELECT u.id, u.task, u.queue, 'ready', u.root_id, u.parent_id, u.retries, u.canvas,
       CASE WHEN u.task <> 'maintenance.probe' THEN now() END, now()
FROM unnest(%(ids)s::text[], %(tasks)s::text[], %(queues)s::text[], %(roots)s::text[],
            %(parents)s::text[], %(retries)s::int[], %(canvases)s::json[])
     AS u(id, task, queue, root_id, parent_id, retries, canvas)
ORDER BY u.id
ON CONFLICT (id) DO NOTHING

-- name: count_redelivery
-- Remember across kills that a step was started again; returns how often, and whether its process
-- ended before because it had passed its hard limit.
UPDATE step SET redeliveries = redeliveries + 1 WHERE id = %(id)s
RETURNING redeliveries,
          EXISTS (SELECT FROM hard_limit_passed AS passed WHERE passed.step_id = step.id) AS is_late

-- name: revoke
-- A wish that outlives the workers that heard it; a step sent by hand may not have come yet.
INSERT INTO step AS s (id, state, status, result, published_at) VALUES (%(id)s, 'ready', 'REVOKED', %(result)s, now())
ON CONFLICT (id) DO UPDATE SET status = excluded.status, result = excluded.result
WHERE s.state IN ('planned', 'ready', 'retrying', 'parked')

-- name: note_hard_limit
-- Written by the watchdog of a process that is about to end.
INSERT INTO hard_limit_passed (step_id, host) VALUES (%(id)s, %(host)s) ON CONFLICT DO NOTHING

-- name: lease_steps
-- One call of a step at a time: a second copy of the message waits. A redelivery takes the lease over as soon as
-- the session of whoever had it is gone: the broker may have closed the connection of a process that
-- lives and goes on calling. A backend that is younger than the lease is another one with its number.
UPDATE step SET lease_until = clock_timestamp() + make_interval(secs => u.seconds), lease_pid = pg_backend_pid()
FROM unnest(%(ids)s::text[], %(seconds)s::float8[], %(redelivered)s::boolean[], %(ours)s::timestamptz[],
            %(asked)s::timestamptz[])
     AS u(id, seconds, is_redelivered, ours, asked)
WHERE step.id = u.id AND (lease_until IS NULL OR lease_until < clock_timestamp() OR lease_until IN (u.ours, u.asked)
                          OR (u.ours IS NULL AND u.is_redelivered AND NOT EXISTS (
                              SELECT FROM pg_stat_activity AS holder
                              WHERE holder.pid = lease_pid
                                AND holder.backend_start < lease_until - make_interval(secs => u.seconds))))
RETURNING step.id, lease_until

-- name: store_results
-- A step's state as Celery stores it; a step that is done stays done.
INSERT INTO step AS s (id, task, queue, state, status, result, traceback, children, root_id,
                       parent_id, retries, host, started_at, reason, finished_at)
SELECT u.id, u.task, NULL, u.state, u.status, u.result, u.traceback, u.children, u.root_id,
       u.parent_id, u.retries, u.host, u.started_at, u.reason,
       CASE WHEN u.state IN ('done', 'failed', 'dead', 'blocked') THEN clock_timestamp() END
FROM unnest(%(ids)s::text[], %(tasks)s::text[], %(states)s::text[], %(statuses)s::text[],
            %(results)s::text[], %(tracebacks)s::text[], %(children)s::text[], %(roots)s::text[],
            %(parents)s::text[], %(retries)s::int[], %(hosts)s::text[], %(started)s::timestamptz[],
            %(attempts)s::int[], %(reasons)s::text[])
     AS u(id, task, state, status, result, traceback, children, root_id, parent_id, retries,
          host, started_at, attempts, reason)
ORDER BY u.id
ON CONFLICT (id) DO UPDATE SET
    task = coalesce(s.task, excluded.task),
    state = CASE WHEN excluded.state = 'ready' THEN s.state ELSE excluded.state END,
    status = excluded.status,
    result = excluded.result,
    traceback = excluded.traceback,
    children = excluded.children,
    root_id = coalesce(s.root_id, excluded.root_id),
    parent_id = coalesce(s.parent_id, excluded.parent_id),
    retries = greatest(s.retries, excluded.retries),
    attempts = s.attempts + CASE WHEN excluded.host IS NULL THEN 0 ELSE 1 END,
    host = coalesce(excluded.host, s.host),
    started_at = coalesce(excluded.started_at, s.started_at),
    finished_at = excluded.finished_at,
    reason = excluded.reason,
    message = CASE WHEN excluded.state IN ('done', 'planned') THEN NULL ELSE s.message END
WHERE s.state <> 'done'

-- name: make_ready
-- The next steps with their whole messages: published after the commit, or by the relay.
INSERT INTO step AS s (id, workflow_id, task, queue, state, sent_by, root_id, parent_id, message,
                       canvas, retries, replacements, due_at, ready_at)
SELECT u.id, u.workflow_id, u.task, u.queue, u.state, u.sent_by, u.root_id, u.parent_id,
       u.message, u.canvas, u.retries, u.replacements, now() + make_interval(secs => u.delay), now()
FROM unnest(%(ids)s::text[], %(workflows)s::uuid[], %(tasks)s::text[], %(queues)s::text[],
            %(states)s::text[], %(senders)s::text[], %(roots)s::text[], %(parents)s::text[],
            %(messages)s::json[], %(canvases)s::json[], %(retries)s::int[], %(replacements)s::int[],
            %(delays)s::float8[])
     AS u(id, workflow_id, task, queue, state, sent_by, root_id, parent_id, message, canvas, retries,
          replacements, delay)
ORDER BY u.id
ON CONFLICT (id) DO UPDATE SET
    task = excluded.task,
    queue = excluded.queue,
    state = excluded.state,
    sent_by = excluded.sent_by,
    root_id = excluded.root_id,
    parent_id = excluded.parent_id,
    message = excluded.message,
    canvas = coalesce(excluded.canvas, s.canvas),
    retries = greatest(s.retries, excluded.retries),
    replacements = greatest(s.replacements, excluded.replacements),
    due_at = excluded.due_at,
    ready_at = excluded.ready_at,
    published_at = NULL,
    finished_at = NULL,
    lease_until = NULL
WHERE s.state <> 'done'

-- name: mark_published
-- These messages were confirmed by the broker; a retry, or what has taken the step's place since then,
-- waits for its own confirm. A row that its consumer holds already is skipped, for waiting could deadlock: it will be
-- done, or the relay publishes it once more.
UPDATE step SET published_at = now() - make_interval(secs => unmarked.age)
FROM (
    SELECT s.id, u.age FROM step s
    JOIN unnest(%(ids)s::text[], %(retries)s::int[], %(ages)s::float8[]) AS u(id, retries, age)
      ON s.id = u.id AND s.retries = u.retries
    WHERE s.published_at IS NULL AND s.state IN ('ready', 'retrying')
        AND s.ready_at <= now() - make_interval(secs => u.age)
    ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
) AS unmarked
WHERE step.id = unmarked.id

-- name: unpublished_of_senders
-- Messages that these steps' commits made ready and that nobody saw confirmed.
SELECT message FROM step
WHERE sent_by = ANY(%(ids)s) AND state IN ('ready', 'retrying')
  AND published_at IS NULL AND message IS NOT NULL
ORDER BY ready_at

-- name: take_unpublished
-- Messages without a confirm for so long that their publisher must have died; one relay at a time.
SELECT message FROM step
WHERE published_at IS NULL AND state IN ('ready', 'retrying') AND message IS NOT NULL
  AND ready_at < now() - make_interval(secs => %(older_than)s)
  AND queue <> ALL(%(except_queues)s::text[])
ORDER BY ready_at LIMIT %(limit)s
FOR NO KEY UPDATE SKIP LOCKED

-- name: read_step
-- One step as Celery's AsyncResult reads it.
SELECT id, status, result, traceback, children, finished_at, task, queue, retries, host, parent_id
FROM step WHERE id = %(id)s

-- name: forget
-- A result that its reader no longer wants.
UPDATE step SET result = NULL, traceback = NULL, status = 'PENDING' WHERE id = %(id)s

-- name: insert_workflow
-- A workflow that no login causes.
INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (%(id)s, %(tenant)s, %(kind)s, %(user)s)

-- name: insert_planned
-- The planned steps of accepted workflows; the first ones with their messages, and when those are due that wait at the broker.
INSERT INTO step (id, workflow_id, position, task, queue, state, after, root_id, message, canvas, due_at, ready_at)
SELECT u.id, u.workflow_id, u.position, u.task, u.queue,
       CASE WHEN u.message IS NULL THEN 'planned' ELSE 'ready' END,
       CASE WHEN u.after = '' THEN '{}'::text[] ELSE string_to_array(u.after, ' ') END,
       u.root_id, u.message, u.canvas, now() + make_interval(secs => u.delay),
       CASE WHEN u.message IS NULL THEN NULL ELSE now() END
FROM unnest(%(ids)s::text[], %(workflows)s::uuid[], %(positions)s::int[], %(tasks)s::text[],
            %(queues)s::text[], %(after)s::text[], %(roots)s::text[], %(messages)s::json[],
            %(canvases)s::json[], %(delays)s::float8[])
     AS u(id, workflow_id, position, task, queue, after, root_id, message, canvas, delay)

-- name: lock_workflows
-- Two last steps of one workflow that commit at once must not miss each other. Not FOR UPDATE:
-- that would wait for every insert whose foreign key names the workflow, and deadlock with it.
SELECT id FROM workflow WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: finish_workflows
-- A workflow ends when none of its steps can go on.
UPDATE workflow w SET state = ended.state, finished_at = now()
FROM (
    SELECT workflow_id,
           CASE WHEN bool_or(state = 'dead') THEN 'dead'
                WHEN bool_or(state = 'failed') THEN 'failed'
                ELSE 'done' END AS state
    FROM step WHERE workflow_id = ANY(%(ids)s)
    GROUP BY workflow_id
    HAVING bool_and(state IN ('done', 'failed', 'dead', 'blocked'))
) AS ended
WHERE w.id = ended.workflow_id AND w.state IS DISTINCT FROM ended.state
RETURNING w.id, w.state

-- name: block_after
-- Planned steps behind a step that failed for good wait for a replay; a join's body may be blocked already.
WITH RECURSIVE behind AS (
    SELECT id FROM step
    WHERE workflow_id = ANY(%(workflows)s) AND after && %(ids)s AND state IN ('planned', 'blocked')
    UNION
    SELECT s.id FROM step s JOIN behind b ON s.after @> ARRAY[b.id]
    WHERE s.workflow_id = ANY(%(workflows)s) AND s.state IN ('planned', 'blocked')
)
UPDATE step SET state = 'blocked', finished_at = now()
FROM behind WHERE step.id = behind.id AND step.state = 'planned'

-- name: delete_unplanned_steps
-- Results of what was sent by hand, beat's ticks among them, once nobody is to read them any more.
DELETE FROM step
WHERE workflow_id IS NULL AND state IN ('done', 'failed', 'dead', 'blocked')
  AND finished_at < now() - make_interval(secs => %(older_than)s)
