-- name: take_history
-- Take the next logins of some users out of an import, and store those whose keys are free as reported and done: each event
-- counts once. Ids begin with the time (RFC 9562, version 7), so that they lie side by side in the indexes.
WITH taken AS (
    DELETE FROM import_login WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM import_login
        WHERE import_id = %(import_id)s AND user_key BETWEEN %(first)s AND %(last)s
        ORDER BY user_key, occurred_at, line LIMIT %(most)s
    ))
    RETURNING *
),
given AS MATERIALIZED (
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid AS workflow_id, taken.*
    FROM taken
),
claimed AS (
    INSERT INTO idempotency_key (tenant_id, key, body_sha256, workflow_id)
    SELECT tenant_id, event_id, body_sha256, workflow_id FROM given ORDER BY tenant_id, event_id, line
    ON CONFLICT DO NOTHING
    RETURNING workflow_id
),
accepted AS (
    SELECT given.* FROM given JOIN claimed USING (workflow_id)
),
workflows AS (
    INSERT INTO workflow (id, tenant_id, name, state, user_id, event_id, finished_at)
    SELECT workflow_id, tenant_id, 'login', 'done', user_id, event_id, now() FROM accepted
),
reported AS (
    INSERT INTO reported_login (workflow_id, tenant_id, event_id, user_id, occurred_at, ip, user_agent, cookie_id, auth_method,
        email, other_email, locale, time_zone, kind, history)
    SELECT workflow_id, tenant_id, event_id, user_id, occurred_at, ip, user_agent, cookie_id, auth_method,
        email, other_email, locale, time_zone, kind, true
    FROM accepted
)
SELECT
    given.workflow_id, given.tenant_id, given.event_id, given.user_id, given.occurred_at, host(given.ip) AS ip,
    given.user_agent, given.cookie_id, given.auth_method, given.kind, claimed.workflow_id IS NOT NULL AS is_accepted
FROM given LEFT JOIN claimed USING (workflow_id)
ORDER BY given.occurred_at, given.line;

-- name: save_history
-- Store logins with their checks and what is known of their networks.
INSERT INTO login (
    workflow_id, tenant_id, user_id, device_id, new_device, occurred_at, ip, auth_method, country, asn, provider
)
SELECT workflow_id, tenant_id, user_id, device_id, new_device, occurred_at, ip, auth_method, country, asn, provider
FROM unnest(
    %(workflow_ids)s::uuid[], %(device_ids)s::uuid[], %(new_device)s::boolean[],
    %(countries)s::text[], %(asns)s::bigint[], %(providers)s::text[]
) AS checked (workflow_id, device_id, new_device, country, asn, provider)
JOIN reported_login AS reported USING (workflow_id)
ORDER BY workflow_id;

-- name: note_history
-- A slice is applied.
INSERT INTO import_part (import_id, bucket, accepted, known, workflow_ids)
VALUES (%(import_id)s, %(bucket)s, %(accepted)s, %(known)s, %(workflow_ids)s::uuid[]);

-- name: unlearned_history
-- Applied slices that the outlier API has not learned, in the order in which they were applied.
SELECT id, workflow_ids FROM import_part
WHERE import_id = %(import_id)s AND bucket BETWEEN %(first)s AND %(last)s AND workflow_ids IS NOT NULL
ORDER BY id;

-- name: note_learned_history
-- The outlier API has learned a slice.
UPDATE import_part SET workflow_ids = NULL WHERE id = %(part)s;

-- name: sum_up_history
-- What became of an import's logins.
SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(known), 0)::bigint AS known
FROM import_part WHERE import_id = %(import_id)s;
