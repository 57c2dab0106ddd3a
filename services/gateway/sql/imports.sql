-- name: open_import
-- An import by its key; who comes again goes on with the same one.
INSERT INTO login_import (id, tenant_id, key) VALUES (gen_random_uuid(), %(tenant)s, %(key)s)
ON CONFLICT (tenant_id, key) DO UPDATE SET touched_at = now()
RETURNING id

-- name: read_import
-- How far an import is.
SELECT i.id AS import_id, i.line, i.staged, i.skipped, i.refused,
    CASE
        WHEN i.begun_at IS NULL THEN 'uploading'
        WHEN w.state = 'accepted' AND (done.parts > 0 OR EXISTS (
            SELECT FROM step WHERE step.workflow_id = w.id AND step.state = 'done'
        )) THEN 'running'
        ELSE coalesce(w.state, 'done')
    END AS state,
    done.accepted, done.known, done.unlearned
FROM login_import AS i
LEFT JOIN workflow AS w ON w.id = i.id
CROSS JOIN LATERAL (
    SELECT count(*) AS parts, coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(known), 0)::bigint AS known,
        coalesce(sum(accepted) FILTER (WHERE workflow_ids IS NOT NULL), 0)::bigint AS unlearned
    FROM import_part WHERE import_id = i.id
) AS done
WHERE i.tenant_id = %(tenant)s AND i.id = %(import_id)s

-- name: lock_import
-- Whoever adds to an import, or begins it, is alone at it.
SELECT line, begun_at IS NOT NULL AS is_begun FROM login_import
WHERE tenant_id = %(tenant)s AND id = %(import_id)s FOR UPDATE

-- name: stage
-- Put logins aside, each under the key of its user's lock. What a body leaves out is the default.
INSERT INTO import_login (import_id, user_key, occurred_at, line, tenant_id, user_id, event_id, body_sha256, ip, user_agent,
    cookie_id, auth_method, email, other_email, locale, time_zone, kind)
SELECT %(import_id)s, hashtextextended(concat_ws(E'\x1f', 'device', %(tenant)s::text, user_id), 0), occurred_at, line, %(tenant)s,
    user_id, event_id, body_sha256, ip, user_agent, cookie_id, auth_method, email, other_email, locale, time_zone,
    coalesce(kind, 'sign_in')
FROM ROWS FROM (
    json_to_recordset(%(bodies)s::json) AS (user_id text, event_id text, occurred_at timestamptz, ip inet, user_agent text,
        auth_method text, email text, other_email text, locale text, time_zone text, kind text),
    unnest(%(lines)s::bigint[]), unnest(%(digests)s::bytea[]), unnest(%(cookies)s::uuid[])
) AS it (user_id, event_id, occurred_at, ip, user_agent, auth_method, email, other_email, locale, time_zone, kind, line,
    body_sha256, cookie_id)

-- name: note_staged
-- Up to this line it is here.
UPDATE login_import SET line = %(line)s, staged = staged + %(staged)s, skipped = skipped + %(skipped)s,
    refused = refused + %(refused)s, touched_at = now()
WHERE id = %(import_id)s

-- name: count_buckets
-- How many logins there are by the first bits of their users' keys.
SELECT user_key >> %(shift)s AS bucket, count(*) AS logins FROM import_login WHERE import_id = %(import_id)s GROUP BY 1

-- name: begin_import
-- No more is added.
UPDATE login_import SET begun_at = now(), touched_at = now() WHERE id = %(import_id)s
