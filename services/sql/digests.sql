-- name: take
-- Digests that are not begun, locked, with what decides whether their users are told: the last of the day's logins with an address
-- is the one in which they are.
SELECT
    digest.tenant_id, digest.user_id, digest.day, tenant.pseudonym_key, reached.told_in,
    (tenant.policy -> 'digest' -> 'hour') IS NOT NULL AS is_wanted,
    EXISTS (
        SELECT FROM unsubscribed WHERE unsubscribed.tenant_id = digest.tenant_id AND unsubscribed.user_id = digest.user_id
    ) AS has_unsubscribed,
    digest.due_at < coalesce(%(now)s::timestamptz, now()) - make_interval(hours => %(most_hours)s) AS is_too_late
FROM digest
JOIN tenant ON tenant.id = digest.tenant_id
LEFT JOIN LATERAL (
    SELECT login.workflow_id AS told_in
    FROM login JOIN reported_login AS reported USING (workflow_id)
    WHERE login.tenant_id = digest.tenant_id AND login.user_id = digest.user_id AND login.digest_day = digest.day
        AND login.occurred_at BETWEEN ((digest.day - 1)::timestamp AT TIME ZONE 'UTC')
            AND ((digest.day + 2)::timestamp AT TIME ZONE 'UTC')
        AND (reported.email IS NOT NULL OR reported.other_email IS NOT NULL)
    ORDER BY login.occurred_at DESC, login.workflow_id
    LIMIT 1
) AS reached ON true
WHERE digest.workflow_id IS NULL AND {which}

-- name: due
-- Those whose hour has come, the longest ago first; what another process has taken is left to it.
digest.due_at <= coalesce(%(now)s::timestamptz, now())
ORDER BY digest.due_at LIMIT %(most)s FOR UPDATE OF digest SKIP LOCKED

-- name: of_day
-- The one of a user's day, whenever it is due.
digest.tenant_id = %(tenant)s AND digest.user_id = %(user)s AND digest.day = %(day)s
FOR UPDATE OF digest

-- name: devices
-- The devices of users' days, new ones first, then by their last sign-in; so many of each.
SELECT of_user.tenant_id, of_user.user_id, of_user.day, device.device_id, device.description, device.logins, device.is_new,
    device.last_at
FROM unnest(%(tenants)s::text[], %(users)s::text[], %(days)s::date[]) WITH ORDINALITY AS of_user (tenant_id, user_id, day, number)
CROSS JOIN LATERAL (
    SELECT
        login.device_id, known.description, count(*) AS logins, bool_or(login.new_device) AS is_new,
        max(login.occurred_at) AS last_at
    FROM login JOIN device AS known ON known.id = login.device_id
    WHERE login.tenant_id = of_user.tenant_id AND login.user_id = of_user.user_id AND login.digest_day = of_user.day
        AND login.occurred_at BETWEEN ((of_user.day - 1)::timestamp AT TIME ZONE 'UTC')
            AND ((of_user.day + 2)::timestamp AT TIME ZONE 'UTC')
    GROUP BY login.device_id, known.description
    ORDER BY is_new DESC, last_at DESC, login.device_id
    LIMIT %(most)s
) AS device
ORDER BY of_user.number, device.is_new DESC, device.last_at DESC, device.device_id

-- name: drop
-- Nobody is told of these days.
DELETE FROM digest USING unnest(%(tenants)s::text[], %(users)s::text[], %(days)s::date[]) AS dropped (tenant_id, user_id, day)
WHERE digest.tenant_id = dropped.tenant_id AND digest.user_id = dropped.user_id AND digest.day = dropped.day

-- name: note_begun
-- Digests that are begun, each by its workflow: no other will be of its day.
UPDATE digest SET workflow_id = begun.workflow_id, told_in = begun.told_in
FROM unnest(%(tenants)s::text[], %(users)s::text[], %(days)s::date[], %(workflows)s::uuid[], %(told_in)s::uuid[])
    AS begun (tenant_id, user_id, day, workflow_id, told_in)
WHERE digest.tenant_id = begun.tenant_id AND digest.user_id = begun.user_id AND digest.day = begun.day

-- name: list_devices
-- The devices that digests tell of one by one, in their order.
INSERT INTO digest_device (workflow_id, position, device_id)
SELECT workflow_id, position, device_id
FROM unnest(%(workflows)s::uuid[], %(positions)s::integer[], %(devices)s::uuid[]) AS listed (workflow_id, position, device_id)
ORDER BY workflow_id, position

-- name: day_again
-- The digest of a day with sign-ins that was dropped.
INSERT INTO digest (tenant_id, user_id, day, due_at)
SELECT %(tenant)s, %(user)s, %(day)s::date, now()
WHERE EXISTS (
    SELECT FROM login
    WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND digest_day = %(day)s::date
        AND occurred_at BETWEEN ((%(day)s::date - 1)::timestamp AT TIME ZONE 'UTC')
            AND ((%(day)s::date + 2)::timestamp AT TIME ZONE 'UTC')
)
ON CONFLICT DO NOTHING

-- name: begun
-- The workflow of a user's day, if there is one.
SELECT workflow_id FROM digest
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND day = %(day)s AND workflow_id IS NOT NULL

-- name: about
-- A tenant's wish for digests, and a user's clock by the last sign-in.
SELECT tenant.pseudonym_key, (tenant.policy -> 'digest' -> 'hour') IS NOT NULL AS is_wanted, last.time_zone, now() AS now
FROM tenant LEFT JOIN LATERAL (
    SELECT reported.time_zone FROM login JOIN reported_login AS reported USING (workflow_id)
    WHERE login.tenant_id = tenant.id AND login.user_id = %(user)s ORDER BY login.occurred_at DESC LIMIT 1
) AS last ON true
WHERE tenant.id = %(tenant)s
