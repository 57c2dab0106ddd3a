-- name: insert_tenant
-- The application that reports the logins and takes webhook calls.
INSERT INTO tenant (id, name, webhook_url, webhook_secret)
VALUES ('shop', 'The Shop', %(url)s, 'a secret of the test')

-- name: set_policy
-- What it hears of.
UPDATE tenant SET policy = %(policy)s::jsonb

-- name: insert_key
-- Its API key.
INSERT INTO api_key (key_sha256, tenant_id) VALUES (%(digest)s, 'shop')

-- name: close_breaker
-- Forget that the outlier API was away.
DELETE FROM breaker

-- name: ask_no_more
-- Leave logins of earlier scenarios that have no score without one: what came of them would be none of this one's.
UPDATE verdict SET ask_at = NULL WHERE level = 'unscored'

-- name: terminate_backends
-- Cut every other connection to this database; how many there were.
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()

-- name: started_again
-- How often redelivered steps of each queue were run: those that had not been done before.
SELECT queue, sum(redeliveries) FROM step GROUP BY queue

-- name: age
-- Have everything in the ledger happen so many seconds earlier: patience without waiting.
UPDATE step SET
    ready_at = ready_at - make_interval(secs => %(seconds)s),
    published_at = published_at - make_interval(secs => %(seconds)s),
    started_at = started_at - make_interval(secs => %(seconds)s),
    finished_at = finished_at - make_interval(secs => %(seconds)s)

-- name: published
-- How many steps of these events' workflows have a message that counts as published.
SELECT count(*) FROM step AS s JOIN workflow AS w ON w.id = s.workflow_id
WHERE w.event_id = %(event)s AND s.published_at IS NOT NULL

-- name: unpublished
-- How many messages have waited for so many seconds to be published.
SELECT count(*) FROM step
WHERE published_at IS NULL AND state IN ('ready', 'retrying')
  AND greatest(ready_at, due_at) < clock_timestamp() - make_interval(secs => %(older)s)

-- name: probes
-- How many probes have passed through a queue.
SELECT count(*) FROM step
WHERE task = 'maintenance.probe' AND queue = %(queue)s AND state = 'done'

-- name: call_receivers
-- Have the application told now of what it has not answered.
WITH opened AS (UPDATE webhook_receiver SET closed_until = NULL, failures = 0)
UPDATE application_event SET due_at = now() WHERE state = 'due' AND attempts > 0

-- name: untold
-- How much the application is still to hear.
SELECT count(*) FROM application_event WHERE state = 'due'
