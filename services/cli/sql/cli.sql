-- name: workflow
-- One workflow of any tenant.
SELECT id AS workflow_id, name, state, tenant_id, user_id, event_id, generation, accepted_at, finished_at
FROM workflow WHERE id = %(workflow)s

-- name: steps
-- A workflow's planned steps and whatever else ran for it, in the order of the plan and then of time.
SELECT id, task, queue, state, position, after, sent_by, root_id, parent_id, canvas, message, attempts, retries,
    redeliveries, replacements, host, reason, planned_at, ready_at, published_at, due_at, started_at, finished_at, result
FROM step WHERE workflow_id = %(workflow)s
ORDER BY position NULLS LAST, ready_at NULLS LAST, id

-- name: verdict
-- What the outlier API said about a login, its level by the tenant's policy.
SELECT level, action, score, reasons, model_version, request_id, stored_at,
    coalesce(late, false) AS late
FROM verdict WHERE workflow_id = %(workflow)s

-- name: create_tenant
-- A new tenant; no row when the id is taken.
INSERT INTO tenant (id, name) VALUES (%(tenant)s, %(name)s) ON CONFLICT DO NOTHING RETURNING id

-- name: find_tenant
-- Whether a tenant exists.
SELECT id, name FROM tenant WHERE id = %(tenant)s

-- name: tenants
-- All tenants.
SELECT id AS tenant, name, requests_per_second FROM tenant ORDER BY id

-- name: limit_tenant
-- How many requests a second a tenant may make; no row when that is so already.
UPDATE tenant SET requests_per_second = %(per_second)s
WHERE id = %(tenant)s AND requests_per_second IS DISTINCT FROM %(per_second)s RETURNING id

-- name: note_bounce
-- A mail came back; no row when no such mail had left, or it had come back before.
UPDATE notice SET bounced_at = now(), bounce = %(status)s
WHERE id = %(notice)s AND channel IN ('email', 'other_email') AND state IN ('sent', 'sending') AND bounced_at IS NULL
RETURNING tenant_id

-- name: create_key
-- A new key of a tenant; no row when this very key exists already.
INSERT INTO api_key (key_sha256, tenant_id) VALUES (%(digest)s, %(tenant)s)
ON CONFLICT DO NOTHING RETURNING tenant_id

-- name: holder_of_key
-- Who has a key, and whether it still works.
SELECT tenant_id, revoked_at FROM api_key WHERE key_sha256 = %(digest)s

-- name: keys
-- The keys of a tenant, or of all, by the beginning of their digests.
SELECT left(encode(key_sha256, 'hex'), 12) AS key, tenant_id AS tenant, created_at, revoked_at
FROM api_key
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
ORDER BY tenant_id, created_at

-- name: revoke_key
-- Take a key away; the time of the first revocation stays.
UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE left(encode(key_sha256, 'hex'), 12) = %(key)s

-- name: server
-- The server's version and the time it takes it to be.
SELECT current_setting('server_version') AS version, clock_timestamp() AS now

-- name: take_turn
-- Migrations run one at a time; the session's end gives the turn back, however it ends.
SELECT pg_try_advisory_lock(hashtextextended('doorbell migrate', 0)) AS is_ours

-- name: blockers
-- Sessions of others that hold what sessions of ours wait for, and for how long; the waiting ones of each.
SELECT holder.pid, holder.usename AS user, holder.application_name AS application, host(holder.client_addr) AS client,
       holder.state, extract(epoch FROM now() - holder.xact_start)::float8 AS seconds, holder.query,
       count(DISTINCT waiting.pid) AS waiting
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking(pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
WHERE waiting.datname = current_database() AND waiting.application_name LIKE 'doorbell%%'
  AND holder.backend_type = 'client backend' AND holder.application_name NOT LIKE 'doorbell%%'
GROUP BY holder.pid, holder.usename, holder.application_name, holder.client_addr, holder.state, holder.xact_start, holder.query
ORDER BY seconds DESC

-- name: end_session
-- End a session, and wait until it has gone: whether it has.
SELECT pg_terminate_backend(%(pid)s, 5000) AS is_gone

-- name: policy
-- A tenant's policy, as it holds and as its file has it.
SELECT policy, policy_file, webhook_url IS NOT NULL AS has_webhook FROM tenant WHERE id = %(tenant)s

-- name: set_policy
-- Give a tenant a policy, or none.
UPDATE tenant SET policy = %(policy)s::jsonb, policy_file = %(text)s WHERE id = %(tenant)s

-- name: verdicts_by_policy
-- A tenant's verdicts since a moment, without those on logins of before, and what its policy wanted done about them.
SELECT
    level, coalesce(dry_run, false) AS dry_run, count(*) AS verdicts, min(score) AS lowest,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY score) AS median, max(score) AS highest,
    count(*) FILTER (WHERE 'require_step_up' = ANY (switches)) AS require_step_up,
    count(*) FILTER (WHERE 'locked' = ANY (switches)) AS locked,
    count(*) FILTER (WHERE notice_due) AS notices
FROM verdict
WHERE tenant_id = %(tenant)s AND stored_at >= %(since)s
    AND NOT EXISTS (SELECT FROM reported_login AS it WHERE it.workflow_id = verdict.workflow_id AND it.history)
GROUP BY level, coalesce(dry_run, false)
ORDER BY array_position('{low,medium,high,unscored}'::text[], level), 2
