-- name: wait_a_little
-- How long this session waits before it says that it still does.
SET lock_timeout = '5s'

-- name: lead
-- Wait for the lock that only one session can hold; it goes when the session does.
SELECT pg_advisory_lock(hashtextextended('doorbell.' || %(name)s, 0))

-- name: still_there
-- Fails when the session, and the lock with it, is gone.
SELECT 1
