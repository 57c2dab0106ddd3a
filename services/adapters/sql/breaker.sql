-- name: look
-- Whether the breaker is closed, and whether an open one may let a probe through.
SELECT failures < %(threshold)s AND held_by IS NULL AS is_closed,
    open_until <= clock_timestamp() AND held_by IS NULL AS is_probe_due
FROM breaker
WHERE name = %(name)s;

-- name: take_probe
-- Become the one probe: of several callers, one gets the row and the others find it open again.
UPDATE breaker
SET
    open_until = clock_timestamp() + make_interval(secs => %(open_seconds)s),
    changed_at = clock_timestamp()
WHERE name = %(name)s AND failures >= %(threshold)s AND open_until <= clock_timestamp()
    AND held_by IS NULL
RETURNING name;

-- name: record_success
-- Close the breaker; writes nothing while it is closed and without failures. Who holds it open holds it since then.
UPDATE breaker
SET
    failures = 0, open_until = NULL,
    changed_at = CASE WHEN held_by IS NULL THEN clock_timestamp() ELSE changed_at END
WHERE name = %(name)s AND failures > 0
RETURNING name;

-- name: record_failure
-- Count a failure, and open the breaker from the threshold on.
INSERT INTO breaker AS kept (name, failures, open_until, changed_at)
VALUES (
    %(name)s, 1,
    CASE WHEN %(threshold)s <= 1
        THEN clock_timestamp() + make_interval(secs => %(open_seconds)s) END,
    clock_timestamp()
)
ON CONFLICT (name) DO UPDATE SET
    failures = kept.failures + 1,
    open_until = CASE WHEN kept.failures + 1 >= %(threshold)s
        THEN clock_timestamp() + make_interval(secs => %(open_seconds)s) END,
    changed_at = CASE WHEN kept.held_by IS NULL THEN clock_timestamp() ELSE kept.changed_at END
RETURNING failures;
