-- name: record_events
-- Record what applications are to hear, each once.
INSERT INTO application_event (id, tenant_id, user_id, workflow_id, type, data)
SELECT given.id, reported.tenant_id, reported.user_id, given.workflow_id, given.type, given.data
FROM unnest(%(ids)s::uuid[], %(workflow_ids)s::uuid[], %(types)s::text[], %(data)s::jsonb[])
    AS given (id, workflow_id, type, data)
JOIN reported_login AS reported USING (workflow_id)
ORDER BY given.id
ON CONFLICT DO NOTHING;

-- name: give_up_old
-- Nobody has taken these for as long as they are kept.
UPDATE application_event SET
    state = 'given_up', ended_at = clock_timestamp(), answer = coalesce(answer, 'not taken for as long as it is kept')
WHERE id IN (
    SELECT id FROM application_event
    WHERE state = 'due' AND keep_until < now() AND due_at <= now() LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
);

-- name: claim_receivers
-- Take receivers for which something is due, those that have waited longest for their turn first: each is called by one step
-- at a time, and not while it is left alone.
WITH chosen AS (
    SELECT tenant.id
    FROM tenant
    LEFT JOIN webhook_receiver AS receiver ON receiver.tenant_id = tenant.id
    WHERE tenant.webhook_url IS NOT NULL
        AND coalesce(receiver.busy_until <= clock_timestamp(), true)
        AND coalesce(receiver.closed_until <= clock_timestamp(), true)
        AND EXISTS (
            SELECT FROM application_event AS event
            WHERE event.tenant_id = tenant.id AND event.state = 'due' AND event.due_at <= clock_timestamp()
        )
    ORDER BY receiver.called_at NULLS FIRST, tenant.id
    LIMIT greatest(0, %(most)s - (SELECT count(*) FROM webhook_receiver WHERE busy_until > clock_timestamp()))
)
INSERT INTO webhook_receiver AS receiver (tenant_id, busy_until)
SELECT id, clock_timestamp() + make_interval(secs => %(busy_seconds)s) FROM chosen ORDER BY id
ON CONFLICT (tenant_id) DO UPDATE SET
    busy_until = excluded.busy_until, turn = receiver.turn + 1, called_at = clock_timestamp()
WHERE coalesce(receiver.busy_until <= clock_timestamp(), true)
RETURNING tenant_id, turn;

-- name: claim_events
-- Take what is due for a receiver whose turn this is, what was tried least first; of one that has not answered the last time
-- only one.
WITH mine AS (
    SELECT event.id
    FROM application_event AS event
    WHERE event.tenant_id = %(tenant_id)s AND event.state = 'due' AND event.due_at <= clock_timestamp()
    ORDER BY event.attempts, event.due_at
    LIMIT (
        SELECT CASE WHEN max(failures) > 0 THEN 1 WHEN count(*) > 0 THEN %(most)s ELSE 0 END
        FROM webhook_receiver WHERE tenant_id = %(tenant_id)s AND turn = %(turn)s
    )
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE application_event AS event
    SET attempts = event.attempts + 1, due_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
    FROM mine
    WHERE event.id = mine.id
    RETURNING event.*
)
SELECT
    claimed.id, claimed.user_id, claimed.workflow_id, claimed.type, claimed.data, claimed.attempts, claimed.recorded_at,
    reported.event_id, tenant.webhook_url, tenant.webhook_secret
FROM claimed
JOIN tenant ON tenant.id = claimed.tenant_id
LEFT JOIN reported_login AS reported ON reported.workflow_id = claimed.workflow_id
ORDER BY claimed.recorded_at;

-- name: end_event
-- The receiver took it, or never will; a later attempt that is under way changes nothing about that.
UPDATE application_event SET state = %(state)s, answer = %(answer)s, ended_at = clock_timestamp()
WHERE id = %(id)s AND (state = 'due' OR %(state)s = 'sent');

-- name: put_off_event
-- The receiver has not answered this attempt; what is too old is given up.
UPDATE application_event SET
    answer = %(answer)s,
    due_at = clock_timestamp() + make_interval(secs => %(seconds)s),
    state = CASE WHEN keep_until < now() THEN 'given_up' ELSE 'due' END,
    ended_at = CASE WHEN keep_until < now() THEN clock_timestamp() END
WHERE id = %(id)s AND state = 'due' AND attempts = %(attempts)s
RETURNING state;

-- name: leave_receiver
-- This round of calls is over: the next may begin at once, or once the receiver was left alone for a while, longer each time.
-- A round without a call says nothing about the receiver.
UPDATE webhook_receiver SET
    busy_until = NULL,
    answered_at = CASE WHEN %(has_answered)s::boolean THEN clock_timestamp() ELSE answered_at END,
    failures = CASE WHEN %(has_answered)s::boolean IS NULL THEN failures WHEN %(has_answered)s::boolean THEN 0 ELSE failures + 1 END,
    closed_until = CASE
        WHEN NOT %(has_answered)s::boolean
            THEN clock_timestamp() + make_interval(secs => least(2.0 * 2 ^ least(failures, 20), %(longest_pause_seconds)s))
        WHEN %(has_answered)s::boolean IS NULL THEN closed_until
    END
WHERE tenant_id = %(tenant_id)s AND turn = %(turn)s;
