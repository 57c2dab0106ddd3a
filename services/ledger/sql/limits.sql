-- name: limit
-- Limit a task from now on.
INSERT INTO rate_limit (task, per_second, burst, permits, set_by)
VALUES (%(task)s, %(per_second)s, %(burst)s, 1, %(actor)s)

-- name: lift
-- End the limit of a task.
UPDATE rate_limit SET lifted_by = %(actor)s, lifted_at = now() WHERE lifted_at IS NULL AND task = %(task)s

-- name: open_limits
-- All limits of this moment.
SELECT task, per_second, set_by, set_at FROM rate_limit WHERE lifted_at IS NULL ORDER BY task

-- name: use_permits
-- Which of these steps have waited for a permit and got it; it is used up by this.
DELETE FROM rate_permit WHERE step_id = ANY(%(ids)s) RETURNING step_id

-- name: filled
-- The permits that there are now, for whoever holds the row; none while others wait that came before.
SELECT l.id, least(l.burst, l.permits + l.per_second * extract(epoch FROM clock_timestamp() - l.filled_at)::float8) AS permits,
       EXISTS (SELECT FROM step AS s WHERE s.task = l.task AND s.state = 'parked') AS others_wait
FROM rate_limit AS l WHERE l.lifted_at IS NULL AND l.task = %(task)s FOR NO KEY UPDATE

-- name: leave
-- The permits that are left of those.
UPDATE rate_limit SET permits = %(permits)s, filled_at = clock_timestamp() WHERE id = %(id)s

-- name: release
-- Give permits to the oldest parked steps of a task, and the steps to the relay: at once, before their first
-- publisher notes that confirm.
WITH released AS (
    UPDATE step SET state = CASE WHEN retries > 0 THEN 'retrying' ELSE 'ready' END,
        ready_at = least(ready_at, now() - interval '3 seconds')
    WHERE id IN (
        SELECT s.id FROM step AS s
        WHERE s.state = 'parked' AND s.task = %(task)s
          AND NOT EXISTS (SELECT FROM pause AS p WHERE p.task = s.task AND p.resumed_at IS NULL)
        ORDER BY s.ready_at LIMIT %(permits)s
        FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    RETURNING id
)
INSERT INTO rate_permit (step_id) SELECT id FROM released ON CONFLICT (step_id) DO UPDATE SET given_at = now()

-- name: forget_permits
-- Those that nobody came for: their steps were revoked, or their message waits for longer than a day.
DELETE FROM rate_permit WHERE given_at < now() - interval '1 day'
