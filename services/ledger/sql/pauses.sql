-- name: end_other
-- End a pause that does something else with the steps; who had begun it stays on record.
UPDATE pause SET resumed_by = %(actor)s, resumed_at = now()
WHERE resumed_at IS NULL AND task = %(task)s AND drops <> %(drops)s

-- name: pause
-- Pause a task; once more changes nothing.
INSERT INTO pause (task, drops, paused_by) VALUES (%(task)s, %(drops)s, %(actor)s)
ON CONFLICT (task) WHERE resumed_at IS NULL DO NOTHING

-- name: resume
-- End the pause of a task.
UPDATE pause SET resumed_by = %(actor)s, resumed_at = now()
WHERE resumed_at IS NULL AND task = %(task)s

-- name: open_pauses
-- All that is paused at this moment.
SELECT task, drops, paused_by, paused_at FROM pause WHERE resumed_at IS NULL ORDER BY id

-- name: parked
-- How many steps of each task wait for a resume, for a permit, or for the relay behind one.
SELECT task, count(*) AS steps FROM step WHERE state = 'parked' GROUP BY task

-- name: park
-- Steps whose task is paused, or limited, wait here. Whoever sent one by hand has left no message: then this is the delivered one.
UPDATE step AS s
SET state = 'parked', published_at = NULL, lease_until = NULL,
    message = coalesce(s.message, u.message)
FROM unnest(%(ids)s::text[], %(messages)s::json[]) AS u(id, message)
WHERE s.id = u.id

-- name: unpark
-- What waits although its task is neither paused nor limited any more is the relay's, the oldest first; and at
-- once, before its first publisher notes that confirm.
UPDATE step SET state = CASE WHEN retries > 0 THEN 'retrying' ELSE 'ready' END,
    ready_at = least(ready_at, now() - interval '3 seconds')
WHERE id IN (
    SELECT s.id FROM step AS s
    WHERE s.state = 'parked'
      AND NOT EXISTS (SELECT FROM pause AS p WHERE p.task = s.task AND p.resumed_at IS NULL)
      AND NOT EXISTS (SELECT FROM rate_limit AS l WHERE l.task = s.task AND l.lifted_at IS NULL)
    ORDER BY s.ready_at LIMIT %(limit)s
    FOR NO KEY UPDATE OF s SKIP LOCKED
)
