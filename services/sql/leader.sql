-- name: lead
-- Wait for the lock that only one session can hold; it goes when the session does.
SELECT pg_advisory_lock(hashtextextended('doorbell.' || %(name)s, 0))

-- name: still_there
-- Fails when the session, and the lock with it, is gone.
SELECT 1
