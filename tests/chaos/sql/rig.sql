-- name: insert_tenant
-- The application that reports the logins and takes webhook calls.
INSERT INTO tenant (id, name, webhook_url, webhook_secret)
VALUES ('shop', 'The Shop', %(url)s, 'a secret of the test')

-- name: insert_key
-- Its API key.
INSERT INTO api_key (key_sha256, tenant_id) VALUES (%(digest)s, 'shop')

-- name: close_breaker
-- Forget that the outlier API was away.
DELETE FROM breaker

-- name: terminate_backends
-- Cut every other connection to this database; how many there were.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()

-- name: started_again
-- How often redelivered steps were run: those that had not been done before.
SELECT coalesce(sum(redeliveries), 0) FROM step
