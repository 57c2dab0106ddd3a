-- name: make_users
-- Users who have logged in once, each with an address.
WITH made AS (
    INSERT INTO workflow (id, tenant_id, name, state, user_id, finished_at)
    SELECT gen_random_uuid(), %(tenant)s, 'login', 'done', 'bench-lockdown-' || number, now()
    FROM generate_series(1, %(users)s) AS number
    RETURNING id, user_id
)
INSERT INTO reported_login (workflow_id, tenant_id, event_id, user_id, occurred_at, ip, user_agent, email)
SELECT id, %(tenant)s, id::text, user_id, now(), '198.51.100.7', '', user_id || '@example.org' FROM made

-- name: names
-- As an operator would have them in a file.
SELECT user_id FROM workflow WHERE tenant_id = %(tenant)s AND user_id LIKE 'bench-lockdown-%%' ORDER BY id

-- name: last_flip
-- When the last switch was turned on, in seconds since 1970: of a transaction, its beginning.
SELECT coalesce(extract(epoch FROM max(changed_at)), 0) FROM switch_change WHERE incident_id = %(incident)s AND is_on

-- name: stopped_at
-- When the incident was stopped, in seconds since 1970.
SELECT extract(epoch FROM stopped_at) FROM incident WHERE id = %(incident)s

-- name: flips
-- How many were turned on.
SELECT count(*) FROM switch_change WHERE incident_id = %(incident)s AND is_on

-- name: is_part
-- Whether so many users are done.
SELECT count(*) >= %(users)s FROM incident_user WHERE incident_id = %(incident)s AND outcome IS NOT NULL

-- name: sent
-- How many notices have left.
SELECT count(*) FROM notice WHERE incident_id = %(incident)s AND state = 'sent'

-- name: is_told
-- Whether each user was locked, and each notice has left.
SELECT NOT EXISTS (SELECT FROM incident_user WHERE incident_id = %(incident)s AND (outcome IS NULL OR told_at IS NULL))
    AND NOT EXISTS (SELECT FROM notice WHERE incident_id = %(incident)s AND state <> 'sent')

-- name: is_over
-- Whether no step of the incident goes on.
SELECT state <> 'accepted' FROM workflow WHERE id = %(incident)s

-- name: left_on
-- Switches that are on.
SELECT count(*) FROM switch WHERE tenant_id = %(tenant)s AND is_on AND user_id LIKE 'bench-lockdown-%%'
