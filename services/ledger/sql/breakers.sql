-- name: breakers
-- All that have ever counted a failure or were held.
SELECT name, failures, open_until, held_by, changed_at FROM breaker ORDER BY name

-- name: hold_open
-- Let no call through until somebody closes it; held already, it is so since it was.
INSERT INTO breaker (name, held_by, changed_at) VALUES (%(name)s, %(actor)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET held_by = excluded.held_by,
    changed_at = CASE WHEN breaker.held_by IS NULL THEN excluded.changed_at ELSE breaker.changed_at END

-- name: close
-- Let calls through again, whoever or whatever had opened it.
UPDATE breaker SET held_by = NULL, failures = 0, open_until = NULL, changed_at = clock_timestamp()
WHERE name = %(name)s

-- name: note
-- Who did it.
INSERT INTO breaker_action (name, action, actor) VALUES (%(name)s, %(action)s, %(actor)s)
