-- name: put_into_digests
-- Have logins told of with the others of their day; a digest that is not begun waits for the end of the day wherever one was.
WITH given AS (
    SELECT *
    FROM unnest(
        %(workflow_ids)s::uuid[], %(tenant_ids)s::text[], %(user_ids)s::text[], %(days)s::date[], %(due_at)s::timestamptz[]
    ) AS of_login (workflow_id, tenant_id, user_id, day, due_at)
),
marked AS (
    UPDATE login SET digest_day = given.day
    FROM given WHERE login.workflow_id = given.workflow_id AND login.digest_day IS NULL
)
INSERT INTO digest AS there (tenant_id, user_id, day, due_at)
SELECT tenant_id, user_id, day, max(due_at)
FROM given
-- Without a lock, for most logins are not the first of their day.
WHERE NOT EXISTS (
    SELECT FROM digest
    WHERE digest.tenant_id = given.tenant_id AND digest.user_id = given.user_id AND digest.day = given.day
        AND digest.due_at >= given.due_at
)
GROUP BY tenant_id, user_id, day
ORDER BY tenant_id, user_id, day
ON CONFLICT (tenant_id, user_id, day) DO UPDATE SET due_at = excluded.due_at
WHERE there.workflow_id IS NULL AND there.due_at < excluded.due_at

-- name: digest_devices
-- Sum up a day's logins on devices of digests.
UPDATE digest_device AS it SET logins = found.logins, is_new = found.is_new, last_id = found.last_id
FROM (
    SELECT listed.workflow_id, listed.position, of_day.*
    FROM unnest(%(workflow_ids)s::uuid[], %(positions)s::integer[]) AS wanted (workflow_id, position)
    JOIN digest_device AS listed USING (workflow_id, position)
    JOIN digest USING (workflow_id)
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS logins, coalesce(bool_or(login.new_device), false) AS is_new,
            (array_agg(login.workflow_id ORDER BY login.occurred_at DESC, login.workflow_id))[1] AS last_id
        FROM login
        WHERE login.tenant_id = digest.tenant_id AND login.user_id = digest.user_id
            AND login.digest_day = digest.day AND login.device_id = listed.device_id
            -- Wherever it was that day: the index is by time.
            AND login.occurred_at BETWEEN ((digest.day - 1)::timestamp AT TIME ZONE 'UTC')
                AND ((digest.day + 2)::timestamp AT TIME ZONE 'UTC')
    ) AS of_day
    ORDER BY listed.workflow_id, listed.position
) AS found
WHERE it.workflow_id = found.workflow_id AND it.position = found.position
RETURNING it.workflow_id, it.position, it.logins

-- name: digest_others
-- Count a day's logins on devices that are in no list.
UPDATE digest AS it SET other_devices = found.devices, other_logins = found.logins
FROM (
    SELECT digest.workflow_id, of_day.*
    FROM digest
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT login.device_id) AS devices, count(*) AS logins
        FROM login
        WHERE login.tenant_id = digest.tenant_id AND login.user_id = digest.user_id AND login.digest_day = digest.day
            AND login.occurred_at BETWEEN ((digest.day - 1)::timestamp AT TIME ZONE 'UTC')
                AND ((digest.day + 2)::timestamp AT TIME ZONE 'UTC')
            AND NOT EXISTS (
                SELECT FROM digest_device AS listed
                WHERE listed.workflow_id = digest.workflow_id AND listed.device_id = login.device_id
            )
    ) AS of_day
    WHERE digest.workflow_id = ANY (%(workflow_ids)s)
    ORDER BY digest.workflow_id
) AS found
WHERE it.workflow_id = found.workflow_id
RETURNING it.workflow_id, it.other_devices, it.other_logins

-- name: digests_told_in
-- With which login's workflow the notice of a digest is recorded.
SELECT workflow_id, told_in FROM digest WHERE workflow_id = ANY (%(workflow_ids)s) AND told_in IS NOT NULL
