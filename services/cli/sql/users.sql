-- name: known
-- A user of one tenant or of all: the last login, the switches that are on, and the key to the user's pseudonym.
SELECT t.id AS tenant_id, t.pseudonym_key, last.id AS last_workflow, last.accepted_at AS last_login,
    ARRAY(SELECT s.name FROM switch AS s
          WHERE s.tenant_id = t.id AND s.user_id = %(user)s
            AND s.is_on AND coalesce(s.expires_at > now(), true) ORDER BY s.name) AS switches
FROM tenant AS t
CROSS JOIN LATERAL (SELECT w.id, w.accepted_at FROM workflow AS w
                    WHERE w.tenant_id = t.id AND w.user_id = %(user)s AND w.name = 'login'
                    ORDER BY w.accepted_at DESC LIMIT 1) AS last
WHERE %(tenant)s::text IS NULL OR t.id = %(tenant)s
ORDER BY t.id

-- name: is_tenant
-- A row if there is such a tenant.
SELECT id FROM tenant WHERE id = %(tenant)s

-- name: locked
-- Users whose switch is on, the longest first.
SELECT s.tenant_id, s.user_id, s.changed_at FROM switch AS s
WHERE s.name = %(name)s AND s.is_on AND coalesce(s.expires_at > now(), true)
  AND (%(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s)
  AND (%(users)s::text[] IS NULL OR s.user_id = ANY(%(users)s))
  AND (%(since)s::timestamptz IS NULL OR s.changed_at >= %(since)s)
  AND (%(reason)s::text IS NULL OR (s.tenant_id, s.user_id) IN (
      SELECT last.tenant_id, last.user_id
      FROM (SELECT DISTINCT ON (c.tenant_id, c.user_id) c.tenant_id, c.user_id, c.reason FROM switch_change AS c
            WHERE c.name = %(name)s AND (%(tenant)s::text IS NULL OR c.tenant_id = %(tenant)s)
            ORDER BY c.tenant_id, c.user_id, c.changed_at DESC, c.id DESC) AS last
      WHERE last.reason = %(reason)s))
ORDER BY s.changed_at, s.tenant_id, s.user_id

-- name: turn_off
-- Turn these users' switch off where it is on, each with its row in the audit trail.
WITH turned AS (
    UPDATE switch AS s SET is_on = false, changed_at = now(), expires_at = NULL, unlocked_at = now()
    FROM (SELECT kept.tenant_id, kept.user_id, kept.name
          FROM switch AS kept
          JOIN unnest(%(tenants)s::text[], %(users)s::text[], %(names)s::text[]) AS u(tenant_id, user_id, name)
              USING (tenant_id, user_id, name)
          WHERE kept.is_on
          ORDER BY kept.tenant_id, kept.user_id, kept.name FOR NO KEY UPDATE OF kept) AS mine
    WHERE s.tenant_id = mine.tenant_id AND s.user_id = mine.user_id AND s.name = mine.name
    RETURNING s.tenant_id, s.user_id, s.name
)
INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, actor)
SELECT tenant_id, user_id, name, false, %(reason)s, %(actor)s FROM turned

-- name: of_tenant
-- Those of these users who have logged in, and whether the switch is on for them for good.
SELECT u.user_id, coalesce(s.is_on AND s.expires_at IS NULL, false) AS is_on
FROM unnest(%(users)s::text[]) AS u(user_id)
LEFT JOIN switch AS s ON s.tenant_id = %(tenant)s AND s.user_id = u.user_id AND s.name = %(name)s
WHERE s.user_id IS NOT NULL
   OR EXISTS (SELECT FROM device AS d WHERE d.tenant_id = %(tenant)s AND d.user_id = u.user_id)
   OR EXISTS (SELECT FROM workflow AS w WHERE w.tenant_id = %(tenant)s AND w.user_id = u.user_id)

-- name: never_locked
-- Those of these users whom the tenant's policy keeps from being locked.
SELECT kept.user_id
FROM tenant AS t, jsonb_array_elements_text(t.policy -> 'never_lock') AS kept(user_id)
WHERE t.id = %(tenant)s AND kept.user_id = ANY(%(users)s)
ORDER BY kept.user_id

-- name: resubscribe
-- A user wants mails about new devices again.
DELETE FROM unsubscribed WHERE tenant_id = %(tenant)s AND user_id = %(user)s RETURNING user_id
