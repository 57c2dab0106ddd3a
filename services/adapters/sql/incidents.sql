-- name: join_incident
-- Who stops an incident waits for those who are at its users, and they for nobody: the lock is shared.
SELECT pg_advisory_xact_lock_shared(hashtextextended(concat_ws(E'\x1f', 'incident', %(id)s::uuid), 0));

-- name: incident
-- How an incident stands now.
SELECT incident.switch, incident.stopped_at IS NOT NULL AS is_stopped, tenant.policy::text AS policy, incident.notices_onto
FROM incident JOIN tenant ON tenant.id = incident.tenant_id
WHERE incident.id = %(id)s;

-- name: take_users
-- Lock those users about whom nothing was done yet.
SELECT tenant_id, user_id FROM incident_user
WHERE incident_id = %(incident_id)s AND position >= %(first)s AND position < %(last)s AND outcome IS NULL
ORDER BY position
FOR NO KEY UPDATE;

-- name: switch_on
-- Turn the incident's switch on where it is off, each with its row in the audit trail; one that would go off before the
-- incident's does so later. What was done about each user is kept, with the switch as it is left. Those whose time is over
-- are off by now: `expire_switches` has been asked first.
WITH wanted AS (
    SELECT
        it.position, it.tenant_id, it.user_id, incident.switch AS name, it.user_id = ANY (%(spared)s::text[]) AS is_spared,
        incident.reason, incident.actor, now() + make_interval(secs => incident.expire_seconds) AS expires_at
    FROM incident_user AS it JOIN incident ON incident.id = it.incident_id
    WHERE it.incident_id = %(incident_id)s AND it.position >= %(first)s AND it.position < %(last)s AND it.outcome IS NULL
),
kept AS (
    SELECT switch.tenant_id, switch.user_id, switch.expires_at AS expired_at
    FROM switch JOIN wanted USING (tenant_id, user_id, name)
    WHERE NOT wanted.is_spared
    ORDER BY tenant_id, user_id
    FOR NO KEY UPDATE OF switch
),
touched AS (
    INSERT INTO switch AS there (tenant_id, user_id, name, is_on, expires_at)
    SELECT tenant_id, user_id, name, true, expires_at
    FROM wanted LEFT JOIN kept USING (tenant_id, user_id)
    WHERE NOT is_spared
    ORDER BY tenant_id, user_id
    ON CONFLICT (tenant_id, user_id, name) DO UPDATE SET
        is_on = true, unlocked_at = NULL, expires_at = excluded.expires_at,
        changed_at = CASE WHEN there.is_on THEN there.changed_at ELSE now() END,
        turned_on_by = CASE WHEN there.is_on THEN there.turned_on_by END
    WHERE NOT there.is_on OR there.expires_at < coalesce(excluded.expires_at, 'infinity')
    RETURNING tenant_id, user_id, changed_at, expires_at, changed_at = now() AS is_flipped
),
audited AS (
    INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, actor, incident_id)
    SELECT tenant_id, user_id, name, true, reason, actor, %(incident_id)s
    FROM touched JOIN wanted USING (tenant_id, user_id)
    WHERE is_flipped
)
UPDATE incident_user AS it SET
    outcome = CASE
        WHEN wanted.is_spared THEN 'never_locked'
        WHEN touched.is_flipped THEN 'switched'
        WHEN touched.user_id IS NOT NULL THEN 'prolonged'
        ELSE 'on_before'
    END,
    changed_at = touched.changed_at, expires_at = touched.expires_at,
    expired_at = CASE WHEN NOT touched.is_flipped THEN kept.expired_at END
FROM wanted LEFT JOIN touched USING (tenant_id, user_id) LEFT JOIN kept USING (tenant_id, user_id)
WHERE it.incident_id = %(incident_id)s AND it.position = wanted.position
RETURNING it.outcome;

-- name: take_untold
-- Take users who are to be told, each once; returns the login of each that says how: the last one with an address.
WITH untold AS (
    SELECT position FROM incident_user
    WHERE incident_id = %(incident_id)s AND position >= %(first)s AND position < %(last)s
        AND outcome = 'switched' AND told_at IS NULL
    ORDER BY position
    FOR NO KEY UPDATE
),
taken AS (
    UPDATE incident_user AS it SET told_at = now()
    FROM untold
    WHERE it.incident_id = %(incident_id)s AND it.position = untold.position
    RETURNING it.tenant_id, it.user_id
)
SELECT last.workflow_id
FROM taken
CROSS JOIN LATERAL (
    SELECT recent.workflow_id
    FROM (
        SELECT reported.workflow_id, workflow.accepted_at, coalesce(reported.email, reported.other_email) IS NOT NULL AS has_address
        FROM workflow JOIN reported_login AS reported ON reported.workflow_id = workflow.id
        WHERE workflow.tenant_id = taken.tenant_id AND workflow.user_id = taken.user_id
        ORDER BY workflow.accepted_at DESC
        LIMIT 50
    ) AS recent
    ORDER BY recent.has_address DESC, recent.accepted_at DESC
    LIMIT 1
) AS last;

-- name: switch_back
-- Turn the switches off that the incident has turned on, each with its row in the audit trail, and have those go off again in
-- time that it only kept on; unless somebody has changed them since.
WITH mine AS (
    SELECT
        it.position, it.tenant_id, it.user_id, it.outcome, it.expired_at, incident.switch AS name, incident.reason,
        incident.undone_by, switch.is_on, switch.changed_at AS now_changed_at, it.changed_at,
        switch.expires_at AS now_expires_at, it.expires_at
    FROM incident_user AS it
    JOIN incident ON incident.id = it.incident_id
    JOIN switch ON switch.tenant_id = it.tenant_id AND switch.user_id = it.user_id AND switch.name = incident.switch
    WHERE it.incident_id = %(incident_id)s AND it.position >= %(first)s AND it.position < %(last)s
        AND it.outcome IN ('switched', 'prolonged')
    ORDER BY it.tenant_id, it.user_id
    FOR NO KEY UPDATE OF it, switch
),
ours AS (
    SELECT * FROM mine
    WHERE is_on AND now_changed_at = changed_at AND now_expires_at IS NOT DISTINCT FROM expires_at
),
turned AS (
    UPDATE switch SET is_on = false, changed_at = now(), expires_at = NULL, unlocked_at = now()
    FROM ours
    WHERE ours.outcome = 'switched' AND switch.tenant_id = ours.tenant_id AND switch.user_id = ours.user_id
        AND switch.name = ours.name
    RETURNING switch.tenant_id, switch.user_id, switch.name, ours.reason, ours.undone_by
),
shortened AS (
    UPDATE switch SET expires_at = ours.expired_at
    FROM ours
    WHERE ours.outcome = 'prolonged' AND switch.tenant_id = ours.tenant_id AND switch.user_id = ours.user_id
        AND switch.name = ours.name
),
audited AS (
    INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, actor, incident_id)
    SELECT tenant_id, user_id, name, false, 'undone: ' || reason, undone_by, %(incident_id)s FROM turned
)
UPDATE incident_user AS it
SET outcome = CASE WHEN ours.position IS NOT NULL THEN 'undone' ELSE 'changed_since' END
FROM mine LEFT JOIN ours USING (position)
WHERE it.incident_id = %(incident_id)s AND it.position = mine.position
RETURNING it.outcome;
