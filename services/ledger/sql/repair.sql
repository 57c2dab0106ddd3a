-- name: become_reconciler
-- One sweep at a time, in all processes; the lock goes with the transaction.
SELECT pg_try_advisory_xact_lock(hashtext('doorbell.reconciler')) AS is_ours

-- name: passed
-- For each queue: every message that was confirmed before this time has been delivered, because a
-- probe that was published behind it was, and whoever had it then has had time to end it.
SELECT probe.queue, max(probe.ready_at) AS passed_at
FROM step AS probe
JOIN unnest(%(queues)s::text[], %(deadlines)s::float8[]) AS u(queue, deadline)
    ON u.queue = probe.queue AND probe.finished_at < now() - make_interval(secs => u.deadline)
WHERE probe.task = 'maintenance.probe' AND probe.state = 'done'
GROUP BY probe.queue

-- name: republish_passed
-- What still waits although its queue has been passed has lost its message: the relay sends it again.
UPDATE step SET published_at = NULL, republished = republished + 1
WHERE id IN (
    SELECT s.id FROM step AS s
    JOIN unnest(%(queues)s::text[], %(passed)s::timestamptz[]) AS u(queue, passed_at)
        ON s.queue = u.queue AND s.published_at < u.passed_at
    WHERE s.state IN ('ready', 'retrying') AND s.published_at IS NOT NULL
      AND s.message IS NOT NULL AND s.task <> 'maintenance.probe'
      AND (s.due_at IS NULL OR s.due_at < u.passed_at)
      AND s.republished < %(most)s
    ORDER BY s.published_at LIMIT %(limit)s
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
RETURNING id, workflow_id, task, queue, republished

-- name: take_lost
-- Steps whose messages were lost again and again.
SELECT s.id, s.workflow_id, s.task, s.queue, s.message FROM step AS s
JOIN unnest(%(queues)s::text[], %(passed)s::timestamptz[]) AS u(queue, passed_at)
    ON s.queue = u.queue AND s.published_at < u.passed_at
WHERE s.state IN ('ready', 'retrying') AND s.published_at IS NOT NULL
  AND s.message IS NOT NULL AND s.task <> 'maintenance.probe'
  AND (s.due_at IS NULL OR s.due_at < u.passed_at) AND s.republished >= %(most)s
ORDER BY s.published_at LIMIT %(limit)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: queues_to_probe
-- Queues in which something has waited for long, and through which no probe went lately.
SELECT u.queue FROM unnest(%(queues)s::text[]) AS u(queue)
WHERE EXISTS (
    SELECT FROM step AS s
    WHERE s.queue = u.queue AND s.state IN ('ready', 'retrying')
      AND s.published_at < now() - make_interval(secs => %(waiting)s)
      AND (s.due_at IS NULL OR s.due_at < now() - make_interval(secs => %(waiting)s))
      AND s.message IS NOT NULL AND s.task <> 'maintenance.probe'
)
AND NOT EXISTS (
    SELECT FROM step AS probe
    WHERE probe.queue = u.queue AND probe.task = 'maintenance.probe'
      AND probe.ready_at > now() - make_interval(secs => %(every)s)
)

-- name: forget_probes
-- Probes that have passed have served. One that waits in a backlog is kept, however old: by its row
-- alone it is known what was published before it.
DELETE FROM step
WHERE task = 'maintenance.probe' AND state = 'done' AND finished_at < now() - interval '1 hour'

-- name: open_workflows
-- The next open workflows by the time of their acceptance, to be looked at in turn.
SELECT id, accepted_at FROM workflow
WHERE state = 'accepted' AND (accepted_at, id) > (%(after)s, %(after_id)s)
  AND accepted_at < now() - make_interval(secs => %(older_than)s)
ORDER BY accepted_at, id LIMIT %(limit)s

-- name: finished_but_open
-- Workflows of which no step can go on, although nobody has ended them.
SELECT workflow_id FROM step WHERE workflow_id = ANY(%(ids)s)
GROUP BY workflow_id
HAVING bool_and(state IN ('done', 'failed', 'dead', 'blocked'))
