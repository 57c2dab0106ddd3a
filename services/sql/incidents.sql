-- name: tenant
-- A row if there is such a tenant.
SELECT id FROM tenant WHERE id = %(tenant)s

-- name: users_of_network
-- Who signed in from a network since then, whatever became of it. A login can be reported late, and by a clock that is ahead.
SELECT DISTINCT reported.user_id
FROM workflow JOIN reported_login AS reported ON reported.workflow_id = workflow.id
WHERE workflow.tenant_id = %(tenant)s AND workflow.accepted_at >= %(since)s::timestamptz - interval '1 hour'
    AND reported.occurred_at >= %(since)s AND reported.ip <<= %(network)s::inet
ORDER BY reported.user_id
LIMIT %(most)s

-- name: users_of_place
-- Who signed in from a provider, a country, or both, since then, in one and the same login; and how many others signed in from
-- nobody knows where: their logins are not stored yet, or were stored by a release that did not look.
WITH seen AS (
    SELECT reported.user_id, bool_or(login.country IS NOT NULL) AS is_from_there
    FROM workflow
    JOIN reported_login AS reported ON reported.workflow_id = workflow.id
    LEFT JOIN login ON login.workflow_id = workflow.id
    WHERE workflow.tenant_id = %(tenant)s AND workflow.accepted_at >= %(since)s::timestamptz - interval '1 hour'
        AND reported.occurred_at >= %(since)s
        AND (%(network)s::inet IS NULL OR reported.ip <<= %(network)s::inet)
        AND (login.country IS NULL OR (
            (%(asn)s::bigint IS NULL OR login.asn = %(asn)s) AND (%(country)s::text IS NULL OR login.country = %(country)s)
        ))
    GROUP BY reported.user_id
)
SELECT
    coalesce((array_agg(user_id ORDER BY user_id) FILTER (WHERE is_from_there))[:%(most)s], '{}') AS users,
    count(*) FILTER (WHERE NOT is_from_there) AS unplaced
FROM seen

-- name: provider_known
-- A row if the provider of any sign-in is known.
SELECT asn FROM user_network WHERE tenant_id = %(tenant)s AND asn <> 0 LIMIT 1

-- name: truncated_until
-- Addresses of logins until then are kept as networks alone.
SELECT done_until FROM retention WHERE what = 'addresses' AND done_until > %(since)s

-- name: expected
-- What will become of each of these users; null: the switch will be turned on.
SELECT
    given.user_id,
    CASE
        WHEN kept.user_id IS NULL
            AND NOT EXISTS (SELECT FROM device AS d WHERE d.tenant_id = %(tenant)s AND d.user_id = given.user_id)
            AND NOT EXISTS (SELECT FROM workflow AS w WHERE w.tenant_id = %(tenant)s AND w.user_id = given.user_id)
            THEN 'unknown'
        WHEN %(switch)s = 'locked' AND tenant.policy -> 'never_lock' ? given.user_id THEN 'never_locked'
        WHEN kept.is_on AND coalesce(kept.expires_at > now(), true) THEN CASE
            WHEN kept.expires_at < coalesce(now() + make_interval(secs => %(expire_seconds)s), 'infinity') THEN 'prolonged'
            ELSE 'on_before'
        END
    END AS outcome
FROM unnest(%(users)s::text[]) WITH ORDINALITY AS given (user_id, place)
JOIN tenant ON tenant.id = %(tenant)s
LEFT JOIN switch AS kept
    ON kept.tenant_id = %(tenant)s AND kept.user_id = given.user_id AND kept.name = %(switch)s
ORDER BY given.place

-- name: insert_incident
-- A new incident.
INSERT INTO incident (
    id, tenant_id, switch, reason, actor, expire_seconds, per_second, network, asn, country, since, notices_onto
)
VALUES (
    %(id)s, %(tenant)s, %(switch)s, %(reason)s, %(actor)s, %(expire_seconds)s, %(per_second)s,
    %(network)s::cidr, %(asn)s, %(country)s, %(since)s, %(notices_onto)s
)

-- name: insert_users
-- Whom it is about, in one order for all incidents, so that two cannot wait for each other; who was never seen is left out.
INSERT INTO incident_user (incident_id, position, tenant_id, user_id, outcome)
SELECT %(id)s, row_number() OVER (ORDER BY given.user_id) - 1, %(tenant)s, given.user_id, given.outcome
FROM unnest(%(users)s::text[], %(outcomes)s::text[]) AS given (user_id, outcome)

-- name: note
-- One row of the operators' trail.
INSERT INTO operator_action (command, subject, actor) VALUES (%(command)s, %(subject)s, %(actor)s)

-- name: take
-- One incident, whose row stays locked: of two who take it back at once the second finds what the first has begun.
SELECT id, tenant_id AS tenant, switch, stopped_at, undo_id FROM incident
WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
FOR NO KEY UPDATE

-- name: stop
-- From now on nothing more is done for it; at the first time only. One that is done, with all users told, need not be stopped, but
-- for who takes it back: what was given up could be replayed.
UPDATE incident SET stopped_at = clock_timestamp()
WHERE id = %(id)s AND stopped_at IS NULL AND (%(is_undo)s OR EXISTS (
    SELECT FROM step WHERE workflow_id = %(id)s AND position IS NOT NULL AND state <> 'done'
) OR EXISTS (SELECT FROM notice WHERE incident_id = %(id)s AND state = 'recorded'))
RETURNING id

-- name: limit_wait
-- In this transaction locks are waited for no longer than this.
SELECT set_config('lock_timeout', %(milliseconds)s, true)

-- name: shut
-- As `join_incident` of the adapters, but alone.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x1f', 'incident', %(id)s::uuid), 0))

-- name: withdraw_notices
-- What was not sent yet is not to be sent; what a sender holds, `claim_notice` withdraws.
UPDATE notice SET state = 'superseded'
WHERE id IN (
    SELECT id FROM notice WHERE incident_id = %(id)s AND state = 'recorded' ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)

-- name: left_to_undo
-- How many positions an incident has, and whether something of it is still to be taken back.
SELECT count(*) FILTER (WHERE outcome IN ('switched', 'prolonged')) AS left, coalesce(max(position) + 1, 0) AS positions
FROM incident_user WHERE incident_id = %(id)s

-- name: is_under_way
-- A row while a workflow goes on.
SELECT id FROM workflow WHERE id = %(id)s AND state = 'accepted'

-- name: note_undo
-- It is being taken back, by whom.
UPDATE incident SET undo_id = %(undo)s, undone_by = %(actor)s WHERE id = %(id)s

-- name: incidents
-- Incidents with how far they are, the youngest first. Deliveries of notices are no steps of theirs.
SELECT
    incident.id AS incident_id, incident.tenant_id AS tenant, incident.switch, incident.reason, incident.actor,
    incident.network::text AS network, incident.asn, incident.country, incident.since, incident.expire_seconds,
    incident.per_second, incident.notices_onto,
    incident.begun_at, incident.stopped_at, incident.undo_id, undo.state AS undo_state, planned.open, planned.given_up,
    told.notices, told.sent,
    jsonb_build_object(
        'users', counted.users, 'waiting', counted.waiting, 'switched', counted.switched, 'prolonged', counted.prolonged,
        'on_before', counted.on_before, 'never_locked', counted.never_locked, 'unknown', counted.unknown,
        'undone', counted.undone, 'changed_since', counted.changed_since
    ) AS counts
FROM incident
LEFT JOIN workflow AS undo ON undo.id = incident.undo_id
CROSS JOIN LATERAL (
    SELECT
        count(*) AS users, count(*) FILTER (WHERE outcome IS NULL) AS waiting,
        count(*) FILTER (WHERE outcome = 'switched') AS switched, count(*) FILTER (WHERE outcome = 'prolonged') AS prolonged,
        count(*) FILTER (WHERE outcome = 'on_before') AS on_before,
        count(*) FILTER (WHERE outcome = 'never_locked') AS never_locked,
        count(*) FILTER (WHERE outcome = 'unknown') AS unknown, count(*) FILTER (WHERE outcome = 'undone') AS undone,
        count(*) FILTER (WHERE outcome = 'changed_since') AS changed_since
    FROM incident_user WHERE incident_id = incident.id
) AS counted
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE finished_at IS NULL) AS open,
        count(*) FILTER (WHERE state IN ('failed', 'dead')) AS given_up
    FROM step WHERE workflow_id = incident.id AND position IS NOT NULL
) AS planned
CROSS JOIN LATERAL (
    SELECT count(*) AS notices, count(*) FILTER (WHERE state = 'sent') AS sent FROM notice WHERE incident_id = incident.id
) AS told
WHERE (%(id)s::uuid IS NULL OR incident.id = %(id)s) AND (%(tenant)s::text IS NULL OR incident.tenant_id = %(tenant)s)
ORDER BY incident.begun_at DESC, incident.id
LIMIT %(limit)s

-- name: skipped
-- Some of those for whom nothing was done, and why.
SELECT outcome, user_id FROM (
    SELECT outcome, user_id, row_number() OVER (PARTITION BY outcome ORDER BY position) AS place
    FROM incident_user WHERE incident_id = %(id)s AND outcome IN ('never_locked', 'unknown', 'changed_since')
) AS each
WHERE place <= %(most)s
ORDER BY outcome, place
