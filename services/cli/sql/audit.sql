-- name: note
-- One row of the trail.
INSERT INTO operator_action (command, subject, actor) VALUES (%(command)s, %(subject)s, %(actor)s)

-- name: trail
-- What operators did, of all tables that keep it, the latest first. One that replaces another ends it at the same moment.
SELECT acted_at, actor, command, subject FROM (
    SELECT acted_at, actor, command, subject FROM operator_action
    UNION ALL
    SELECT paused_at, paused_by, CASE WHEN drops THEN 'task pause --drop' ELSE 'task pause' END, task FROM pause
    UNION ALL
    SELECT resumed_at, resumed_by, 'task resume', task FROM pause AS over
    WHERE resumed_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM pause AS next WHERE next.task = over.task AND next.paused_at = over.resumed_at)
    UNION ALL
    SELECT set_at, set_by, 'task limit', task || ' to ' || per_second || '/s' FROM rate_limit
    UNION ALL
    SELECT lifted_at, lifted_by, 'task unlimit', task FROM rate_limit AS over
    WHERE lifted_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM rate_limit AS next WHERE next.task = over.task AND next.set_at = over.lifted_at)
    UNION ALL
    SELECT drained_at, drained_by, 'pool drain', concat_ws(' ', pool, 'on ' || host, 'process ' || process) FROM drain
    UNION ALL
    SELECT resumed_at, resumed_by, 'pool resume', concat_ws(' ', pool, 'on ' || host, 'process ' || process)
    FROM drain WHERE resumed_at IS NOT NULL
    UNION ALL
    SELECT acted_at, actor, 'breaker ' || action, name FROM breaker_action
    UNION ALL
    SELECT acted_at, actor, CASE action WHEN 'resume' THEN 'workflow resume' ELSE 'dead ' || action END,
           count(*) || ' of ' || queue
    FROM dead_letter_action GROUP BY acted_at, actor, action, queue
    UNION ALL
    SELECT changed_at, actor, CASE WHEN is_on THEN 'users lock' ELSE 'users unlock' END,
           count(*) || ' of ' || tenant_id || ', ' || name || ': ' || reason
    FROM switch_change WHERE actor IS NOT NULL AND incident_id IS NULL GROUP BY changed_at, actor, is_on, tenant_id, name, reason
) AS action
WHERE acted_at >= %(since)s AND (%(actor)s::text IS NULL OR strpos(actor, %(actor)s) > 0)
ORDER BY acted_at DESC
LIMIT %(limit)s
