-- name: logins
-- The reported logins of some workflows.
SELECT
    workflow_id, tenant_id, event_id, user_id, occurred_at, host(ip) AS ip, user_agent,
    cookie_id, auth_method, email, locale, time_zone, kind
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

-- name: devices
-- The devices that logins may have come from: those with the cookie, the fingerprint or the words, and those of the same
-- browser. A cookie that comes back for the first time belongs to the device of the login in whose answer it was given.
SELECT
    seen.workflow_id, device.id, device.first_workflow_id, device.is_first_of_user, device.is_signed_in,
    device.browser, device.products, device.system, device.model, device.last_seen_at, device.has_same_words,
    device.has_cookie, device.is_cookie_kept
FROM unnest(
    %(workflow_ids)s::uuid[], %(tenant_ids)s::text[], %(user_ids)s::text[], %(cookie_ids)s::uuid[],
    %(fingerprints)s::text[], %(browsers)s::text[], %(words)s::text[]
) AS seen (workflow_id, tenant_id, user_id, cookie_id, fingerprint, browser, words)
LEFT JOIN device_cookie AS kept
    ON kept.tenant_id = seen.tenant_id AND kept.user_id = seen.user_id AND kept.cookie_id = seen.cookie_id
LEFT JOIN login AS given
    ON given.workflow_id = seen.cookie_id AND given.tenant_id = seen.tenant_id AND given.user_id = seen.user_id
CROSS JOIN LATERAL (
    SELECT
        it.id, it.first_workflow_id, it.first_of_user AS is_first_of_user, it.signed_in AS is_signed_in,
        coalesce(it.browser, '') AS browser, it.products, coalesce(it.system, '') AS system, it.model,
        it.last_seen_at,
        it.products IS NULL AND it.description = seen.words AS has_same_words,
        it.id IS NOT DISTINCT FROM coalesce(kept.device_id, given.device_id) AS has_cookie,
        it.id IS NOT DISTINCT FROM kept.device_id AS is_cookie_kept
    FROM device AS it
    WHERE it.tenant_id = seen.tenant_id AND it.user_id = seen.user_id
        AND (
            it.id = coalesce(kept.device_id, given.device_id)
            OR it.first_workflow_id = seen.workflow_id
            OR it.fingerprint = seen.fingerprint
            OR it.browser = seen.browser
            OR it.products IS NULL AND it.description = seen.words
        )
    ORDER BY
        has_cookie DESC, it.first_workflow_id = seen.workflow_id DESC, it.fingerprint = seen.fingerprint DESC,
        it.last_seen_at DESC
    LIMIT 100
) AS device;

-- name: networks
-- The networks that users have signed in from.
SELECT known.tenant_id, known.user_id, known.country, known.asn
FROM user_network AS known
JOIN unnest(%(tenant_ids)s::text[], %(user_ids)s::text[]) AS wanted (tenant_id, user_id)
    USING (tenant_id, user_id);

-- name: add_networks
-- Remember networks of users; those that are known stay.
INSERT INTO user_network (tenant_id, user_id, country, asn, first_workflow_id)
SELECT tenant_id, user_id, country, asn, workflow_id
FROM unnest(
    %(tenant_ids)s::text[], %(user_ids)s::text[], %(countries)s::text[], %(asns)s::bigint[], %(workflow_ids)s::uuid[]
) AS seen (tenant_id, user_id, country, asn, workflow_id)
ORDER BY tenant_id, user_id, country, asn
ON CONFLICT DO NOTHING;

-- name: add_devices
-- Insert devices; of a user who had none, the first one is told apart.
INSERT INTO device (
    id, tenant_id, user_id, fingerprint, description, browser, products, system, model,
    first_workflow_id, first_of_user, first_seen_at, last_seen_at, signed_in
)
SELECT
    seen.id, seen.tenant_id, seen.user_id, seen.fingerprint, seen.description, seen.browser, seen.products,
    seen.system, seen.model, seen.workflow_id,
    row_number() OVER (
        PARTITION BY seen.tenant_id, seen.user_id ORDER BY seen.seen_at, seen.workflow_id
    ) = 1
    AND NOT EXISTS (
        SELECT FROM device AS earlier
        WHERE earlier.tenant_id = seen.tenant_id AND earlier.user_id = seen.user_id
    ),
    seen.seen_at, seen.seen_at, seen.signed_in
FROM unnest(
    %(ids)s::uuid[], %(tenant_ids)s::text[], %(user_ids)s::text[], %(fingerprints)s::text[],
    %(descriptions)s::text[], %(browsers)s::text[], %(products)s::text[], %(systems)s::text[], %(models)s::text[],
    %(workflow_ids)s::uuid[], %(seen_at)s::timestamptz[], %(signed_in)s::boolean[]
) AS seen (
    id, tenant_id, user_id, fingerprint, description, browser, products, system, model, workflow_id,
    seen_at, signed_in
)
ORDER BY seen.tenant_id, seen.user_id, seen.fingerprint
RETURNING id, first_of_user;

-- name: see_devices
-- Note when known devices were seen last and whether somebody signed in, and what they are where that was not known; in one
-- order everywhere. Not FOR UPDATE: every login that is stored meanwhile names a device, and would wait for it.
UPDATE device
SET
    last_seen_at = greatest(device.last_seen_at, seen.at),
    signed_in = device.signed_in OR seen.workflow_id IS NOT NULL,
    first_workflow_id = coalesce(seen.workflow_id, device.first_workflow_id),
    browser = CASE WHEN device.products IS NULL THEN seen.browser ELSE device.browser END,
    system = CASE WHEN device.products IS NULL THEN seen.system ELSE device.system END,
    model = CASE WHEN device.products IS NULL THEN seen.model ELSE device.model END,
    products = coalesce(device.products, seen.products)
FROM (
    SELECT known.id, given.at, given.workflow_id, given.browser, given.products, given.system, given.model
    FROM unnest(
        %(ids)s::uuid[], %(seen_at)s::timestamptz[], %(workflow_ids)s::uuid[], %(browsers)s::text[],
        %(products)s::text[], %(systems)s::text[], %(models)s::text[]
    ) AS given (id, at, workflow_id, browser, products, system, model)
    JOIN device AS known USING (id)
    ORDER BY known.tenant_id, known.user_id, known.fingerprint
    FOR NO KEY UPDATE OF known
) AS seen
WHERE device.id = seen.id;

-- name: keep_cookies
-- Note whose device has a cookie; who has one keeps it.
INSERT INTO device_cookie (tenant_id, user_id, cookie_id, device_id)
SELECT tenant_id, user_id, cookie_id, device_id
FROM unnest(%(tenant_ids)s::text[], %(user_ids)s::text[], %(cookie_ids)s::uuid[], %(device_ids)s::uuid[])
    AS kept (tenant_id, user_id, cookie_id, device_id)
ORDER BY tenant_id, user_id, cookie_id
ON CONFLICT DO NOTHING;

-- name: brought_second_device
-- The workflows whose login was the first on a device that is not the user's first.
SELECT reported.workflow_id
FROM reported_login AS reported
JOIN device
    ON device.tenant_id = reported.tenant_id
    AND device.user_id = reported.user_id
    AND device.first_workflow_id = reported.workflow_id
WHERE reported.workflow_id = ANY (%(workflow_ids)s) AND NOT device.first_of_user;

-- name: addresses
-- Where reported logins came from.
SELECT workflow_id, host(ip) AS ip FROM reported_login WHERE workflow_id = ANY (%(workflow_ids)s);

-- name: save_logins
-- Store logins with their checks and what is known of their networks; a stored one only returns its id. With what a digest has
-- to tell of, where there are some.
WITH saved AS (
    INSERT INTO login (
        workflow_id, tenant_id, user_id, device_id, new_device, occurred_at, ip, auth_method, country, asn, provider
    )
    SELECT
        reported.workflow_id, reported.tenant_id, reported.user_id, checked.device_id,
        checked.new_device, reported.occurred_at, reported.ip, reported.auth_method, checked.country, checked.asn, checked.provider
    FROM unnest(
        %(workflow_ids)s::uuid[], %(device_ids)s::uuid[], %(new_device)s::boolean[],
        %(countries)s::text[], %(asns)s::bigint[], %(providers)s::text[]
    ) AS checked (workflow_id, device_id, new_device, country, asn, provider)
    JOIN reported_login AS reported USING (workflow_id)
    ORDER BY reported.workflow_id
    ON CONFLICT (workflow_id) DO UPDATE SET saved_at = login.saved_at
    RETURNING workflow_id
)
SELECT
    saved.workflow_id, reported.tenant_id, reported.user_id, reported.occurred_at, reported.time_zone,
    CASE
        WHEN reported.kind IN ('sign_in', 'sign_up') AND NOT reported.history
            THEN (tenant.policy -> 'digest' ->> 'hour')::integer
    END AS hour
FROM saved
JOIN reported_login AS reported USING (workflow_id)
JOIN tenant ON tenant.id = reported.tenant_id;

-- name: saved_logins
-- Stored logins, as the outlier API is asked about them.
SELECT
    workflow_id, login.tenant_id, login.user_id, login.occurred_at, host(login.ip) AS ip,
    reported.user_agent, login.auth_method, NOT login.new_device AS is_device_known
FROM login
JOIN reported_login AS reported USING (workflow_id)
WHERE workflow_id = ANY (%(workflow_ids)s);
