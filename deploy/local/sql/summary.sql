-- name: progress
-- How many of the workflows that were accepted under these event ids have ended, and how.
SELECT count(*) AS accepted,
    count(*) FILTER (WHERE state = 'done') AS done,
    count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'dead') AS dead
FROM workflow
WHERE tenant_id = %(tenant)s AND event_id = ANY(%(events)s)

-- name: outcome
-- What the logins with these event ids caused.
WITH replayed AS (
    SELECT id, accepted_at FROM workflow
    WHERE tenant_id = %(tenant)s AND event_id = ANY(%(events)s)
), scored AS (
    SELECT verdict.stored_at, verdict.stored_at - replayed.accepted_at AS waited
    FROM replayed JOIN verdict ON verdict.workflow_id = replayed.id
)
SELECT
    (SELECT count(*) FROM login JOIN replayed ON replayed.id = login.workflow_id
        WHERE login.new_device) AS new_devices,
    (SELECT count(*) FROM notice JOIN replayed ON replayed.id = notice.workflow_id
        WHERE notice.state = 'sent') AS notices_sent,
    (SELECT count(*) FROM notice JOIN replayed ON replayed.id = notice.workflow_id
        WHERE notice.state IN ('recorded', 'sending')) AS notices_open,
    (SELECT count(*) FROM switch_change JOIN replayed ON replayed.id = switch_change.workflow_id)
        AS switches_flipped,
    (SELECT extract(epoch FROM max(scored.stored_at) - (SELECT min(accepted_at) FROM replayed))
        FROM scored)::float8 AS seconds,
    (SELECT count(*) FROM scored) AS verdicts,
    (SELECT extract(epoch FROM percentile_disc(0.5) WITHIN GROUP (ORDER BY waited)) FROM scored)
        ::float8 AS p50_seconds,
    (SELECT extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY waited)) FROM scored)
        ::float8 AS p99_seconds

-- name: levels
-- Verdicts on the logins with these event ids, by level.
SELECT verdict.level, count(*) AS verdicts
FROM workflow JOIN verdict ON verdict.workflow_id = workflow.id
WHERE workflow.tenant_id = %(tenant)s AND workflow.event_id = ANY(%(events)s)
GROUP BY verdict.level
