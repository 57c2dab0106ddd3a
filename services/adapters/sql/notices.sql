-- name: contacts
-- Whose logins these are, and how the users can be told.
SELECT
    reported.workflow_id, reported.tenant_id, reported.user_id,
    reported.email IS NOT NULL AS has_email,
    reported.other_email IS NOT NULL AND lower(reported.other_email) IS DISTINCT FROM lower(reported.email) AS has_other_email,
    array_remove(ARRAY[
        CASE WHEN reported.email = ANY (bounced.addresses) THEN 'email' END,
        CASE WHEN reported.other_email = ANY (bounced.addresses) THEN 'other_email' END
    ], NULL) AS bounced, tenant.webhook_url IS NOT NULL AS has_webhook,
    reported.kind, reported.history AS is_history, extract(epoch FROM clock_timestamp() - reported.received_at)::float8 AS age_seconds,
    login.workflow_id IS NOT NULL AND NOT login.new_device AS is_device_known, EXISTS (
        SELECT FROM unsubscribed WHERE unsubscribed.tenant_id = reported.tenant_id AND unsubscribed.user_id = reported.user_id
    ) AS has_unsubscribed, CASE WHEN %(with_earlier_logins)s::boolean THEN (
        -- No more than the policy asks for, however long the user's history is.
        SELECT count(*)
        FROM (
            SELECT FROM login AS earlier
            WHERE earlier.tenant_id = reported.tenant_id AND earlier.user_id = reported.user_id
                AND earlier.occurred_at < reported.occurred_at
            LIMIT coalesce((tenant.policy ->> 'lock_from')::integer, %(lock_from)s)
        ) AS counted
    ) ELSE 0 END AS earlier_logins, tenant.policy::text AS policy
FROM reported_login AS reported
JOIN tenant ON tenant.id = reported.tenant_id
LEFT JOIN login ON login.workflow_id = reported.workflow_id
-- That do not exist, as mails that came back within a month say (RFC 3463: X.1.X is about the address).
CROSS JOIN LATERAL (
    SELECT array_remove(ARRAY(
        SELECT CASE notice.channel WHEN 'other_email' THEN told.other_email ELSE told.email END
        FROM notice JOIN reported_login AS told ON told.workflow_id = notice.workflow_id
        WHERE notice.tenant_id = reported.tenant_id AND notice.user_id = reported.user_id
            AND notice.bounced_at > now() - interval '30 days' AND notice.bounce LIKE '5.1.%%'
    ), NULL) AS addresses
) AS bounced
WHERE reported.workflow_id = ANY (%(workflow_ids)s);

-- name: record_notices
-- Record notices once a workflow, reason and channel; returns the new ones. Of what is more than a user gets within an hour the
-- login is put aside; two transactions that do not see each other may record one more.
WITH due AS (
    SELECT
        given.*, reported.tenant_id, reported.user_id, before.notices + row_number() OVER (
            PARTITION BY reported.tenant_id, reported.user_id, given.reason, given.channel
            ORDER BY reported.occurred_at, given.workflow_id
        ) AS number
    FROM unnest(
        %(ids)s::uuid[], %(workflow_ids)s::uuid[], %(reasons)s::text[], %(channels)s::text[],
        %(most_per_hour)s::integer[], %(dry_runs)s::boolean[], %(incident_ids)s::uuid[]
    ) AS given (id, workflow_id, reason, channel, most, is_dry_run, incident_id)
    JOIN reported_login AS reported USING (workflow_id)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE earlier.reason = given.reason AND earlier.channel = given.channel) AS notices
        FROM (
            SELECT reason, channel FROM notice
            WHERE tenant_id = reported.tenant_id AND user_id = reported.user_id
                AND recorded_at > now() - interval '1 hour' AND given.most IS NOT NULL
        ) AS earlier
    ) AS before
    WHERE NOT EXISTS (SELECT FROM notice WHERE notice.id = given.id)
        AND (given.most IS NULL OR NOT EXISTS (
            SELECT FROM folded_notice AS folded
            WHERE folded.workflow_id = given.workflow_id AND folded.reason = given.reason
        ))
),
folded AS (
    INSERT INTO folded_notice (workflow_id, tenant_id, user_id, reason)
    SELECT workflow_id, tenant_id, user_id, reason FROM due WHERE number > most AND incident_id IS NULL ORDER BY workflow_id
    ON CONFLICT DO NOTHING
)
INSERT INTO notice (id, workflow_id, tenant_id, user_id, reason, channel, state, incident_id)
SELECT
    id, workflow_id, tenant_id, user_id, reason, channel, CASE WHEN is_dry_run THEN 'dry_run' ELSE 'recorded' END, incident_id
FROM due
WHERE most IS NULL OR number <= most
ORDER BY workflow_id, reason, channel
ON CONFLICT DO NOTHING
RETURNING id, state;

-- name: fold
-- Take the logins that were put aside, of users whose first of them was so long ago; returns the last of each user's, and
-- whether one was to be told of for its verdict.
WITH ripe AS (
    SELECT tenant_id, user_id FROM folded_notice
    WHERE told_in IS NULL
    GROUP BY tenant_id, user_id
    HAVING min(folded_at) < now() - make_interval(secs => %(seconds)s)
    ORDER BY tenant_id, user_id
    LIMIT 100
),
mine AS (
    SELECT workflow_id, tenant_id, user_id FROM folded_notice AS kept JOIN ripe USING (tenant_id, user_id)
    WHERE told_in IS NULL
    ORDER BY workflow_id
    FOR NO KEY UPDATE OF kept
),
told AS (
    SELECT
        mine.workflow_id, first_value(mine.workflow_id) OVER (
            PARTITION BY mine.tenant_id, mine.user_id ORDER BY reported.occurred_at DESC, mine.workflow_id
        ) AS last_id
    FROM mine JOIN reported_login AS reported USING (workflow_id)
)
UPDATE folded_notice SET told_in = told.last_id
FROM told
WHERE folded_notice.workflow_id = told.workflow_id
RETURNING told.last_id, folded_notice.reason = 'verdict' AS is_verdict;

-- name: notice
-- One notice with all that its message says: of a day, what its digest has summed up; of a verdict, only if the notice is due to one. Such a
-- verdict is final, so every attempt says the same.
SELECT
    notice.id, notice.workflow_id, notice.tenant_id, tenant.name AS tenant_name, notice.user_id,
    notice.reason, notice.channel, notice.receipt,
    -- Whoever is to send it finds it as `claim_notice` leaves it.
    CASE WHEN incident.stopped_at IS NOT NULL AND notice.state = 'recorded' THEN 'superseded' ELSE notice.state END AS state,
    CASE notice.channel WHEN 'other_email' THEN reported.other_email ELSE reported.email END AS email,
    tenant.webhook_url, tenant.webhook_secret, reported.occurred_at, host(reported.ip) AS ip,
    reported.user_agent, reported.auth_method, reported.locale, reported.time_zone, verdict.level,
    ARRAY(
        SELECT name
        FROM unnest(coalesce(
            verdict.switches, CASE WHEN verdict.action = 'deny' THEN '{locked}'::text[] ELSE array_remove(ARRAY[incident.switch], NULL) END
        )) AS name
        WHERE name <> ALL (coalesce(verdict.withheld, '{}'))
    ) AS switches,
    coalesce(verdict.late, false) AS is_late, coalesce((tenant.policy -> 'unsubscribe')::boolean, false) AS may_unsubscribe,
    notice.recorded_at, tenant.cookie_key AS link_key, notice.incident_id, incident.notices_onto AS onto,
    (SELECT greatest(count(*), 1) FROM folded_notice AS with_it WHERE with_it.told_in = notice.workflow_id) AS logins,
    CASE WHEN notice.reason = 'digest' THEN (
        SELECT json_build_object(
            'day', digest.day, 'other_devices', digest.other_devices, 'other_logins', digest.other_logins,
            'devices', (
                SELECT coalesce(json_agg(json_build_object(
                    'user_agent', told.user_agent, 'ip', host(told.ip), 'occurred_at', told.occurred_at,
                    'time_zone', told.time_zone, 'logins', listed.logins, 'is_new', listed.is_new
                ) ORDER BY listed.position), '[]')
                FROM digest_device AS listed JOIN reported_login AS told ON told.workflow_id = listed.last_id
                WHERE listed.workflow_id = digest.workflow_id
            )
        )
        FROM digest WHERE digest.told_in = notice.workflow_id
    ) END AS digest
FROM notice
JOIN tenant ON tenant.id = notice.tenant_id
JOIN reported_login AS reported ON reported.workflow_id = notice.workflow_id
LEFT JOIN verdict ON verdict.workflow_id = notice.workflow_id AND notice.reason = 'verdict'
LEFT JOIN incident ON incident.id = notice.incident_id
WHERE notice.id = %(notice_id)s;

-- name: siblings
-- The notices by which a notice's workflow was to tell the same thing, locked: of two that fail at once, the second sees the first.
SELECT other.id, other.channel, other.state, other.bounced_at IS NOT NULL AS is_bounced
FROM notice AS other
JOIN notice AS this ON this.id = %(notice_id)s
WHERE (other.workflow_id, other.reason) = (this.workflow_id, this.reason)
    AND other.incident_id IS NOT DISTINCT FROM this.incident_id
ORDER BY other.id
FOR NO KEY UPDATE OF other;

-- name: take_bounced
-- Take notices that came back, those first that did so first.
UPDATE notice SET bounce_answered_at = now()
WHERE id IN (
    SELECT id FROM notice WHERE bounced_at IS NOT NULL AND bounce_answered_at IS NULL
    ORDER BY bounced_at LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id;

-- name: claim_notice
-- State the intent to send, unless it is sent, superseded, or under another sender's lease; the notice as it was before. One of
-- an incident that was stopped is superseded by that.
WITH withdrawn AS (
    UPDATE notice SET state = 'superseded'
    FROM incident
    WHERE notice.id = %(notice_id)s AND notice.state = 'recorded'
        AND incident.id = notice.incident_id AND incident.stopped_at IS NOT NULL
),
claimed AS (
    UPDATE notice
    SET
        state = 'sending', attempts = attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
    WHERE
        id = %(notice_id)s
        AND state IN ('recorded', 'sending', 'failed')
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
        AND NOT EXISTS (SELECT FROM incident WHERE incident.id = notice.incident_id AND incident.stopped_at IS NOT NULL)
    RETURNING id
)
SELECT EXISTS (SELECT FROM claimed) AS is_claimed, noticed.* FROM ({notice}) AS noticed;

-- name: note_sent
-- The receiver took the notice.
UPDATE notice
SET
    state = 'sent', sent_at = clock_timestamp(), receipt = %(receipt)s, error = NULL,
    lease_until = NULL
WHERE id = %(notice_id)s AND state <> 'sent'
RETURNING id;

-- name: note_not_sent
-- One attempt failed; the next sender need not wait for the lease.
UPDATE notice
SET state = 'recorded', error = %(error)s, lease_until = NULL
WHERE id = %(notice_id)s AND state = 'sending'
RETURNING id;

-- name: settle_sent
-- Notices that their receivers took, as the receipts say: the database was put back in between.
UPDATE notice
SET
    state = 'sent', sent_at = clock_timestamp(), receipt = told.receipt, error = NULL,
    lease_until = NULL
FROM unnest(%(notice_ids)s::uuid[], %(receipts)s::text[]) AS told (id, receipt)
WHERE notice.id = told.id AND notice.state IN ('recorded', 'sending', 'failed')
RETURNING notice.id;

-- name: give_up_notice
-- Try a notice no more, unless it is sent or given up already.
UPDATE notice
SET state = %(state)s, lease_until = NULL
WHERE id = %(notice_id)s AND state IN ('recorded', 'sending')
RETURNING id;

-- name: record_receipts
-- Enter sent notices into the list of receipts; one that is in it only returns its id.
INSERT INTO receipt (notice_id, workflow_id, channel, receipt, sent_at)
SELECT id, workflow_id, channel, receipt, sent_at
FROM notice
WHERE id = ANY (%(notice_ids)s) AND state = 'sent'
ORDER BY id
ON CONFLICT (notice_id) DO UPDATE SET recorded_at = receipt.recorded_at
RETURNING notice_id;
