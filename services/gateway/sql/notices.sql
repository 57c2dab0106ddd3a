-- name: noticed
-- A notice, the sign-in that it is about, from where that was as far as it is stored, whether it was answered so before, and its
-- user's switches that are on.
SELECT
    notice.workflow_id, notice.tenant_id, notice.user_id, tenant.name AS tenant_name, tenant.cookie_key AS link_key,
    tenant.policy::text AS policy, reported.locale, reported.time_zone, reported.occurred_at,
    host(reported.ip) AS ip, reported.user_agent, reported.auth_method,
    coalesce(login.country, '') AS country, coalesce(login.asn, 0) AS asn, coalesce(login.provider, '') AS provider,
    EXISTS (SELECT FROM notice_answer AS given WHERE given.notice_id = notice.id AND given.act = %(act)s) AS is_answered,
    ARRAY(
        SELECT switch.name FROM switch
        WHERE switch.tenant_id = notice.tenant_id AND switch.user_id = notice.user_id
            AND switch.is_on AND coalesce(switch.expires_at > now(), true)
    ) AS switches
FROM notice
JOIN tenant ON tenant.id = notice.tenant_id
JOIN reported_login AS reported ON reported.workflow_id = notice.workflow_id
LEFT JOIN login ON login.workflow_id = notice.workflow_id
WHERE notice.id = %(notice)s

-- name: answer
-- Keep an answer; no row when it was given before.
INSERT INTO notice_answer (notice_id, act) VALUES (%(notice)s, %(act)s)
ON CONFLICT DO NOTHING
RETURNING notice_id

-- name: forget_device
-- The device that this sign-in brought is none that its user has signed in on: the next sign-in there is new, and told of.
-- So are those of all that its mail told of together.
UPDATE device SET signed_in = false, first_of_user = false
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND first_workflow_id IN (
    SELECT %(workflow)s UNION SELECT workflow_id FROM folded_notice WHERE told_in = %(workflow)s
)

-- name: forget_network
-- Nor are the networks that they brought some that their user signs in from.
DELETE FROM user_network
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND first_workflow_id IN (
    SELECT %(workflow)s UNION SELECT workflow_id FROM folded_notice WHERE told_in = %(workflow)s
)

-- name: unsubscribe
-- A user wants no mails about new devices.
INSERT INTO unsubscribed (tenant_id, user_id) VALUES (%(tenant)s, %(user)s) ON CONFLICT DO NOTHING
