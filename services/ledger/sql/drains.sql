-- name: is_drained
-- Whether a process is to take no messages.
SELECT EXISTS (
    SELECT FROM drain
    WHERE resumed_at IS NULL AND pool = %(pool)s
        AND (host IS NULL OR host = %(host)s) AND (process IS NULL OR process = %(process)s)
)

-- name: open_drains
-- All that is drained at this moment.
SELECT pool, host, process, drained_by, drained_at FROM drain WHERE resumed_at IS NULL ORDER BY id

-- name: drain
-- Drain; once more changes nothing.
INSERT INTO drain (pool, host, process, drained_by)
VALUES (%(pool)s, %(host)s, %(process)s, %(actor)s)
ON CONFLICT (pool, coalesce(host, ''), coalesce(process, 0)) WHERE resumed_at IS NULL DO NOTHING

-- name: resume
-- End the drains that lie inside: of that host, or of any when none is named; the same for the process.
UPDATE drain SET resumed_by = %(actor)s, resumed_at = now()
WHERE resumed_at IS NULL AND pool = %(pool)s
    AND (%(host)s::text IS NULL OR host = %(host)s)
    AND (%(process)s::integer IS NULL OR process = %(process)s)
RETURNING id
