-- name: claim_keys
-- Claims each key for its workflow and returns the workflows whose key was free. Sorted, so that two lists that share keys cannot deadlock.
INSERT INTO idempotency_key (tenant_id, key, body_sha256, workflow_id)
SELECT tenant_id, key, body_sha256, workflow_id
FROM unnest(%(tenants)s::text[], %(keys)s::text[], %(bodies)s::bytea[], %(workflows)s::uuid[])
    AS claim (tenant_id, key, body_sha256, workflow_id)
ORDER BY tenant_id, key
ON CONFLICT DO NOTHING
RETURNING workflow_id

-- name: holders_of_keys
-- Who holds keys that were taken, and how far that workflow is (null: removed by retention).
SELECT held.tenant_id, held.key, held.body_sha256, held.workflow_id, reported.event_id,
    CASE WHEN workflow.state = 'accepted' AND EXISTS (
        SELECT FROM step WHERE step.workflow_id = workflow.id AND step.state = 'done'
    ) THEN 'running' ELSE workflow.state END AS state
FROM unnest(%(tenants)s::text[], %(keys)s::text[]) AS wanted (tenant_id, key)
JOIN idempotency_key AS held USING (tenant_id, key)
LEFT JOIN workflow ON workflow.id = held.workflow_id
LEFT JOIN reported_login AS reported ON reported.workflow_id = held.workflow_id

-- name: insert_workflow_rows
-- One workflow for each login.
INSERT INTO workflow (id, tenant_id, name, user_id, event_id)
SELECT id, tenant_id, 'login', user_id, event_id
FROM unnest(%(workflows)s::uuid[], %(tenants)s::text[], %(users)s::text[], %(events)s::text[])
    AS accepted (id, tenant_id, user_id, event_id)

-- name: insert_reported_logins
-- The logins as reported; the steps read them by the workflow's id.
INSERT INTO reported_login (workflow_id, tenant_id, event_id, user_id, occurred_at, ip, user_agent,
    cookie_id, auth_method, email, other_email, locale, time_zone, kind, history)
SELECT * FROM unnest(%(workflows)s::uuid[], %(tenants)s::text[], %(events)s::text[],
    %(users)s::text[], %(times)s::timestamptz[], %(addresses)s::inet[], %(agents)s::text[],
    %(cookies)s::uuid[], %(methods)s::text[], %(emails)s::text[], %(other_emails)s::text[],
    %(locales)s::text[], %(zones)s::text[], %(kinds)s::text[],
    %(histories)s::boolean[])

-- name: tenant_of_key
-- The tenant that an API key belongs to, and how many requests a second it may make.
SELECT tenant_id, requests_per_second FROM api_key JOIN tenant ON tenant.id = tenant_id
WHERE key_sha256 = %(digest)s AND revoked_at IS NULL

-- name: note_gateway
-- A limited tenant's requests come to this gateway; of those that are long gone nothing is kept.
WITH gone AS (
    DELETE FROM tenant_gateway WHERE tenant_id = %(tenant)s AND gateway IN (
        SELECT gateway FROM tenant_gateway
        WHERE tenant_id = %(tenant)s AND gateway <> %(gateway)s AND seen_at < now() - interval '1 hour'
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO tenant_gateway (tenant_id, gateway, seen_at) VALUES (%(tenant)s, %(gateway)s, now())
ON CONFLICT (tenant_id, gateway) DO UPDATE SET seen_at = excluded.seen_at

-- name: gateways_of_tenant
-- How many gateways share a tenant's limit.
SELECT count(*) FROM tenant_gateway
WHERE tenant_id = %(tenant)s AND seen_at > now() - %(seconds)s * interval '1 second'

-- name: tenant_keys
-- By which tenants' users are named for monitors, and their devices' cookies are signed.
SELECT id, pseudonym_key, cookie_key FROM tenant WHERE id = ANY(%(tenants)s::text[])

-- name: outbox
-- How many messages wait for their first confirm (counted up to a limit), the age of the oldest in
-- seconds, and the time.
SELECT count(*) AS messages,
    coalesce(extract(epoch FROM now() - min(ready_at)), 0)::float8 AS lag_seconds,
    clock_timestamp() AS now
FROM (
    SELECT ready_at FROM step
    WHERE published_at IS NULL AND state IN ('ready', 'retrying')
    ORDER BY ready_at LIMIT %(limit)s
) AS waiting

-- name: readiness
-- Fails when the database has no schema; answers whether it can be written.
SELECT pg_is_in_recovery() AS is_read_only, EXISTS (SELECT FROM workflow) AS has_workflows
