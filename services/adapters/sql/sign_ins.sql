-- name: logins
-- The reported logins of some workflows.
SELECT
    workflow_id, tenant_id, event_id, user_id, occurred_at, host(ip) AS ip, user_agent,
    device_cookie, auth_method, email, locale
FROM reported_login
WHERE workflow_id = ANY (%(workflow_ids)s);

-- name: lock_users
-- Keep others from adding devices to these users until the transaction ends; in one order everywhere.
SELECT pg_advisory_xact_lock(users.key)
FROM (
    SELECT DISTINCT hashtextextended(concat_ws(E'\x1f', 'device', tenant_id, user_id), 0) AS key
    FROM unnest(%(tenant_ids)s::text[], %(user_ids)s::text[]) AS seen (tenant_id, user_id)
    ORDER BY key
) AS users;

-- name: see_devices
-- Insert new devices and touch known ones; whose they were at first stays as it is.
INSERT INTO device AS known (
    id, tenant_id, user_id, fingerprint, description, first_workflow_id, first_of_user,
    first_seen_at, last_seen_at
)
SELECT
    seen.id, seen.tenant_id, seen.user_id, seen.fingerprint, seen.description, seen.workflow_id,
    row_number() OVER (
        PARTITION BY seen.tenant_id, seen.user_id ORDER BY seen.first_seen_at, seen.workflow_id
    ) = 1
    AND NOT EXISTS (
        SELECT FROM device AS earlier
        WHERE earlier.tenant_id = seen.tenant_id AND earlier.user_id = seen.user_id
    ),
    seen.first_seen_at, seen.last_seen_at
FROM unnest(
    %(ids)s::uuid[], %(tenant_ids)s::text[], %(user_ids)s::text[], %(fingerprints)s::text[],
    %(descriptions)s::text[], %(workflow_ids)s::uuid[], %(first_seen)s::timestamptz[],
    %(last_seen)s::timestamptz[]
) AS seen (
    id, tenant_id, user_id, fingerprint, description, workflow_id, first_seen_at, last_seen_at
)
ORDER BY seen.tenant_id, seen.user_id, seen.fingerprint
ON CONFLICT (tenant_id, user_id, fingerprint)
DO UPDATE SET last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
RETURNING tenant_id, user_id, fingerprint, id, first_workflow_id, first_of_user;

-- name: brought_second_device
-- The workflows whose login was the first on a device that is not the user's first.
SELECT reported.workflow_id
FROM reported_login AS reported
JOIN device
    ON device.tenant_id = reported.tenant_id
    AND device.user_id = reported.user_id
    AND device.first_workflow_id = reported.workflow_id
WHERE reported.workflow_id = ANY (%(workflow_ids)s) AND NOT device.first_of_user;

-- name: save_logins
-- Store logins with their checks; a stored one only returns its id.
INSERT INTO login (
    workflow_id, tenant_id, user_id, device_id, new_device, occurred_at, ip, auth_method
)
SELECT
    reported.workflow_id, reported.tenant_id, reported.user_id, checked.device_id,
    checked.new_device, reported.occurred_at, reported.ip, reported.auth_method
FROM unnest(%(workflow_ids)s::uuid[], %(device_ids)s::uuid[], %(new_device)s::boolean[])
    AS checked (workflow_id, device_id, new_device)
JOIN reported_login AS reported USING (workflow_id)
ORDER BY reported.workflow_id
ON CONFLICT (workflow_id) DO UPDATE SET saved_at = login.saved_at
RETURNING workflow_id;

-- name: saved_login
-- One stored login, as the outlier API is asked about it.
SELECT
    workflow_id, login.tenant_id, login.user_id, login.occurred_at, host(login.ip) AS ip,
    reported.user_agent, login.auth_method, NOT login.new_device AS is_device_known
FROM login
JOIN reported_login AS reported USING (workflow_id)
WHERE workflow_id = %(workflow_id)s;
