-- name: open_workflows
-- How many workflows are open (counted up to a limit), and for how long the oldest has been: since it was
-- accepted, or, as a replayed one is old from its first moment and an import may be long, since any of its steps last moved.
-- Lockdowns that are paced take the time that they were given.
SELECT count(*) AS workflows,
       coalesce(extract(epoch FROM now() - min(CASE WHEN generation = 1 AND name <> 'import' THEN accepted_at ELSE moved.at END)), 0)::float8
           AS oldest_seconds
FROM (
    SELECT id, name, accepted_at, generation FROM workflow
    WHERE state = 'accepted' AND (name <> 'lockdown' OR NOT EXISTS (
        SELECT FROM incident WHERE incident.id = workflow.id AND incident.per_second IS NOT NULL
    ))
    ORDER BY accepted_at LIMIT %(most)s
) AS open
LEFT JOIN LATERAL (
    SELECT max(greatest(ready_at, finished_at)) AS at FROM step WHERE workflow_id = open.id AND (open.generation > 1 OR open.name = 'import')
) AS moved ON true

-- name: open_workflows_by_age
-- How many workflows were accepted longer ago than each of these ages and have not ended, counted up to a limit.
SELECT age AS seconds, count(w.accepted_at) AS workflows
FROM unnest(%(ages)s::float8[]) AS ages(age)
LEFT JOIN LATERAL (
    SELECT accepted_at FROM workflow
    WHERE state = 'accepted' AND accepted_at < now() - make_interval(secs => age)
    ORDER BY accepted_at LIMIT %(most)s
) AS w ON true
GROUP BY age ORDER BY age

-- name: late_logins
-- Among the longest open logins, those that have waited for their verdict for too long. A replayed one
-- is old from its first moment, so its age says nothing. Each verdict is looked up by its key: a join
-- would read all of them when a backlog has made the planner expect many.
SELECT count(*) FILTER (WHERE v.is_there IS NULL) AS logins
FROM (
    SELECT id FROM workflow
    WHERE state = 'accepted' AND name = 'login' AND generation = 1
      AND accepted_at < now() - make_interval(secs => %(late)s)
    ORDER BY accepted_at LIMIT %(most)s
) AS w
LEFT JOIN LATERAL (SELECT true AS is_there FROM verdict WHERE workflow_id = w.id LIMIT 1) AS v ON true

-- name: waiting_steps
-- For each queue, of its longest published steps that have not ended: how long the oldest has waited
-- since it was due, and how many carry a notice that was recorded too long ago.
SELECT u.queue,
       greatest(0, max(extract(epoch FROM now() - greatest(s.published_at, s.due_at))))::float8
           AS oldest_seconds,
       count(*) FILTER (
           WHERE s.task = %(notice_task)s AND s.generation = 1
             AND s.planned_at < now() - make_interval(secs => %(late_notice)s)
       ) AS late_notices
FROM unnest(%(queues)s::text[]) AS u(queue)
LEFT JOIN LATERAL (
    SELECT task, generation, planned_at, published_at, due_at FROM step
    WHERE queue = u.queue AND published_at IS NOT NULL AND state IN ('ready', 'retrying')
    ORDER BY published_at LIMIT %(most)s
) AS s ON true
GROUP BY u.queue

-- name: parked_notices
-- How many notices were recorded too long ago and wait for a resume, or for a permit.
SELECT count(*) FILTER (WHERE planned_at < now() - make_interval(secs => %(late_notice)s)) AS late
FROM (
    SELECT planned_at FROM step
    WHERE task = %(notice_task)s AND state = 'parked' AND generation = 1 ORDER BY ready_at LIMIT %(most)s
) AS parked

-- name: parked_steps
-- How many steps of each task wait for a resume, or for a permit; of all together up to a limit.
SELECT task, count(*) AS steps
FROM (SELECT task FROM step WHERE state = 'parked' ORDER BY task, ready_at LIMIT %(most)s) AS parked GROUP BY task

-- name: limits
-- How many steps of a task the fleet begins in a second, where an operator limits that.
SELECT task, per_second FROM rate_limit WHERE lifted_at IS NULL

-- name: held
-- What operators keep from working, and since when: tasks, breakers, processes of a pool.
SELECT 'task' AS kind, task AS name, extract(epoch FROM now() - paused_at)::float8 AS seconds
FROM pause WHERE resumed_at IS NULL
UNION ALL
SELECT 'breaker', name, extract(epoch FROM now() - changed_at)::float8 FROM breaker WHERE held_by IS NOT NULL
UNION ALL
SELECT 'pool', pool, extract(epoch FROM now() - min(drained_at))::float8 FROM drain WHERE resumed_at IS NULL GROUP BY pool

-- name: lost_steps
-- Steps that were given up because the broker lost their messages again and again, among the latest
-- of those that nobody has replayed or dropped.
SELECT count(*) FILTER (WHERE reason = 'lost') AS steps
FROM (
    SELECT reason FROM step WHERE state IN ('failed', 'dead') AND dropped_at IS NULL
    ORDER BY finished_at DESC LIMIT %(most)s
) AS given_up

-- name: surroundings
-- How many circuit breakers have opened, how long ago a canary came back, and whether commits wait for no standby although
-- there is to be one, as behind a promotion.
SELECT (SELECT count(*) FROM breaker WHERE open_until IS NOT NULL AND held_by IS NULL) AS open_breakers,
       names = '' AND coalesce(current_setting('doorbell.without_standby', true), '') <> 'on' AND EXISTS (
           SELECT FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary AND slot_name <> 'backup'
       ) AS is_unprotected,
       (SELECT extract(epoch FROM now() - returned_at) FROM canary)::float8 AS canary_seconds
FROM current_setting('synchronous_standby_names') AS names

-- name: slots
-- For each lasting replication slot: whether somebody fetches WAL through it, and how much is kept for it.
SELECT slot_name AS slot, active AS is_fetched,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::float8 AS kept_bytes
FROM pg_replication_slots WHERE NOT temporary
