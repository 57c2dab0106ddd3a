-- name: find
-- A tenant's webhook.
SELECT webhook_url AS url, webhook_secret AS secret FROM tenant WHERE id = %(tenant)s FOR NO KEY UPDATE

-- name: set
-- Give a tenant a webhook; what was kept from the one before is tried at once.
WITH opened AS (
    UPDATE webhook_receiver SET failures = 0, closed_until = NULL WHERE tenant_id = %(tenant)s
),
sooner AS (
    UPDATE application_event SET due_at = now()
    WHERE tenant_id = %(tenant)s AND state = 'due' AND attempts > 0 AND due_at > now() + interval '30 seconds'
)
UPDATE tenant SET webhook_url = %(url)s, webhook_secret = %(secret)s WHERE id = %(tenant)s

-- name: unset
-- Take a tenant's webhook away, and with it what its application was still to hear; returns how much that was.
WITH taken AS (
    UPDATE tenant SET webhook_url = NULL, webhook_secret = NULL WHERE id = %(tenant)s
),
dropped AS (
    UPDATE application_event SET state = 'given_up', answer = 'the webhook was taken away', ended_at = now()
    WHERE tenant_id = %(tenant)s AND state = 'due'
    RETURNING id
)
SELECT count(*) AS dropped FROM dropped

-- name: shown
-- Webhooks and what became of the events for them: those that wait, and those given up within a month, tries apart.
SELECT
    tenant.id AS tenant, tenant.webhook_url AS url, waiting.events AS waiting, waiting.oldest AS waiting_since,
    given_up.events AS given_up, receiver.answered_at, coalesce(receiver.failures, 0) AS failures,
    CASE WHEN receiver.closed_until > now() THEN receiver.closed_until END AS left_alone_until, problem.answer AS problem
FROM tenant
LEFT JOIN webhook_receiver AS receiver ON receiver.tenant_id = tenant.id
CROSS JOIN LATERAL (
    SELECT count(*) AS events, min(recorded_at) AS oldest FROM application_event
    WHERE tenant_id = tenant.id AND state = 'due'
) AS waiting
CROSS JOIN LATERAL (
    SELECT count(*) AS events FROM application_event
    WHERE tenant_id = tenant.id AND state = 'given_up' AND ended_at > now() - interval '30 days' AND type <> 'webhook.test'
) AS given_up
LEFT JOIN LATERAL (
    SELECT answer FROM application_event
    WHERE tenant_id = tenant.id AND state <> 'sent' AND answer IS NOT NULL
    ORDER BY coalesce(ended_at, due_at) DESC LIMIT 1
) AS problem ON true
WHERE tenant.id = coalesce(%(tenant)s::text, tenant.id) AND (tenant.webhook_url IS NOT NULL OR %(tenant)s::text IS NOT NULL)
ORDER BY tenant.id

-- name: retry
-- Make due again what was given up within a month and was no try, and call the receiver now; returns how much that is.
WITH opened AS (
    UPDATE webhook_receiver SET failures = 0, closed_until = NULL WHERE tenant_id = %(tenant)s
),
again AS (
    UPDATE application_event SET state = 'due', attempts = 0, due_at = now(), keep_until = now() + interval '3 days', ended_at = NULL
    WHERE tenant_id = %(tenant)s AND state = 'given_up' AND ended_at > now() - interval '30 days' AND type <> 'webhook.test'
    RETURNING id
),
sooner AS (
    UPDATE application_event SET due_at = now()
    WHERE tenant_id = %(tenant)s AND state = 'due' AND attempts > 0 AND due_at > now() + interval '30 seconds'
)
SELECT count(*) AS again FROM again

-- name: test
-- An event that says nothing; it goes before all others.
WITH opened AS (
    UPDATE webhook_receiver SET closed_until = NULL WHERE tenant_id = %(tenant)s
)
INSERT INTO application_event (id, tenant_id, type, data, attempts)
VALUES (gen_random_uuid(), %(tenant)s, 'webhook.test', '{}', -1)
RETURNING id

-- name: outcome
-- What became of an event.
SELECT state, attempts, answer FROM application_event WHERE id = %(event)s
