-- name: store_verdicts
-- Store verdicts once, a real one over `unscored`, which is late; returns the workflows whose verdict changed.
INSERT INTO verdict (
    workflow_id, tenant_id, user_id, level, action, score, reasons, model_version, request_id,
    switches, notice_due, dry_run, ask_at
)
SELECT
    workflow_id, reported.tenant_id, reported.user_id, given.level, given.action, given.score,
    ARRAY(SELECT jsonb_array_elements_text(given.reasons)), given.model_version, given.request_id,
    CASE WHEN given.level <> 'unscored' THEN string_to_array(given.switches, ',') END,
    CASE WHEN given.level <> 'unscored' THEN given.notice_due END,
    CASE WHEN given.level <> 'unscored' THEN given.dry_run END,
    CASE WHEN given.level = 'unscored' THEN now() + make_interval(secs => %(ask_again_seconds)s) END
FROM unnest(
    %(workflow_ids)s::uuid[], %(levels)s::text[], %(actions)s::text[],
    %(scores)s::double precision[], %(reasons)s::jsonb[], %(model_versions)s::text[],
    %(request_ids)s::text[], %(switches)s::text[], %(notices_due)s::boolean[], %(dry_runs)s::boolean[]
) AS given (
    workflow_id, level, action, score, reasons, model_version, request_id, switches, notice_due, dry_run
)
JOIN reported_login AS reported USING (workflow_id)
ORDER BY workflow_id
ON CONFLICT (workflow_id) DO UPDATE SET
    level = excluded.level, action = excluded.action, score = excluded.score,
    reasons = excluded.reasons, model_version = excluded.model_version,
    request_id = excluded.request_id, stored_at = excluded.stored_at, switches = excluded.switches,
    notice_due = excluded.notice_due, dry_run = excluded.dry_run, late = true
WHERE verdict.level = 'unscored' AND excluded.level <> 'unscored'
RETURNING workflow_id, coalesce(late, false) AS is_late;

-- name: claim_unscored
-- Take logins without a score to ask about again, those that have waited longest first, no more than may be under way at once.
-- Of each all steps of the last time have ended, which are sent by hand and so are no workflow's. While the breaker is open
-- none is taken, and one when it lets a probe through. After each time it is left alone for twice as long.
WITH room AS (
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM breaker WHERE name = 'outlier_api' AND (open_until IS NOT NULL OR held_by IS NOT NULL))
            THEN %(most)s
        WHEN EXISTS (
            SELECT FROM breaker WHERE name = 'outlier_api' AND open_until <= clock_timestamp() AND held_by IS NULL
        ) THEN 1
        ELSE 0
    END - (
        SELECT count(*)
        FROM (
            SELECT FROM step
            WHERE workflow_id IS NULL AND finished_at IS NULL
                AND task IN ('external_api.score_login', 'db_writes.apply_verdict')
            LIMIT %(most)s
        ) AS under_way
    ) AS places
),
due AS (
    SELECT workflow_id FROM verdict
    WHERE level = 'unscored' AND ask_at <= now()
        AND NOT EXISTS (
            SELECT FROM step
            WHERE step.id IN (
                'rescore-' || verdict.workflow_id || '-' || verdict.asks || '-score',
                'rescore-' || verdict.workflow_id || '-' || verdict.asks || '-apply'
            ) AND step.finished_at IS NULL
        )
    ORDER BY ask_at
    LIMIT greatest(0, (SELECT places FROM room))
    FOR NO KEY UPDATE SKIP LOCKED
),
again AS (
    SELECT
        workflow_id, now() + make_interval(
            secs => least(%(ask_again_seconds)s * 2 ^ (verdict.asks + 1), %(longest_pause_seconds)s)
        ) AS at
    FROM verdict JOIN due USING (workflow_id)
)
UPDATE verdict SET
    asks = asks + 1,
    ask_at = CASE WHEN again.at < verdict.stored_at + make_interval(secs => %(longest_seconds)s) THEN again.at END
FROM again
WHERE verdict.workflow_id = again.workflow_id
RETURNING verdict.workflow_id, verdict.asks;

-- name: ask_no_more
-- Leave logins that have no score without one; in one order everywhere.
UPDATE verdict SET ask_at = NULL
FROM (
    SELECT workflow_id FROM verdict
    WHERE workflow_id = ANY (%(workflow_ids)s) AND level = 'unscored'
    ORDER BY workflow_id FOR NO KEY UPDATE
) AS given_up
WHERE verdict.workflow_id = given_up.workflow_id;

-- name: turn_on
-- Turn on the switches that are off, each with its row in the audit trail. One that somebody turned off a short while ago stays
-- off, which is noted beside the verdict; one that is on and would go off by itself does so later. Those whose time is over
-- are off by now: `expire_switches` has been asked first.
WITH wanted AS (
    SELECT DISTINCT ON (tenant_id, user_id, name) *
    FROM unnest(
        %(tenant_ids)s::text[], %(user_ids)s::text[], %(names)s::text[], %(workflow_ids)s::uuid[],
        %(reasons)s::text[], %(cooldowns)s::float8[], %(expiries)s::float8[]
    ) WITH ORDINALITY
        AS flip (tenant_id, user_id, name, workflow_id, reason, cooldown, expires_in, position)
    ORDER BY tenant_id, user_id, name, position
),
kept AS (
    SELECT tenant_id, user_id, name, is_on, unlocked_at
    FROM switch JOIN wanted USING (tenant_id, user_id, name)
    ORDER BY tenant_id, user_id, name
    FOR NO KEY UPDATE OF switch
),
withheld AS (
    SELECT wanted.tenant_id, wanted.user_id, wanted.name
    FROM wanted JOIN kept USING (tenant_id, user_id, name)
    WHERE NOT kept.is_on AND kept.unlocked_at > now() - make_interval(secs => wanted.cooldown)
),
touched AS (
    INSERT INTO switch AS there (tenant_id, user_id, name, is_on, expires_at, turned_on_by)
    SELECT
        tenant_id, user_id, name, true, now() + make_interval(secs => expires_in), workflow_id
    FROM wanted
    WHERE NOT EXISTS (
        SELECT FROM withheld
        WHERE withheld.tenant_id = wanted.tenant_id AND withheld.user_id = wanted.user_id
            AND withheld.name = wanted.name
    )
    ORDER BY tenant_id, user_id, name
    ON CONFLICT (tenant_id, user_id, name) DO UPDATE SET
        is_on = true, unlocked_at = NULL, expires_at = excluded.expires_at,
        changed_at = CASE WHEN there.is_on THEN there.changed_at ELSE now() END,
        turned_on_by = CASE WHEN there.is_on THEN there.turned_on_by ELSE excluded.turned_on_by END
    WHERE NOT there.is_on OR there.expires_at < coalesce(excluded.expires_at, 'infinity')
    RETURNING tenant_id, user_id, name, turned_on_by
),
turned AS (
    INSERT INTO switch_change (tenant_id, user_id, name, is_on, workflow_id, reason)
    SELECT tenant_id, user_id, name, true, wanted.workflow_id, wanted.reason
    FROM touched JOIN wanted USING (tenant_id, user_id, name)
    WHERE touched.turned_on_by = wanted.workflow_id
    RETURNING workflow_id, name
)
SELECT workflow_id, name, false AS is_withheld FROM turned
UNION ALL
SELECT flip.workflow_id, flip.name, true
FROM unnest(%(tenant_ids)s::text[], %(user_ids)s::text[], %(names)s::text[], %(workflow_ids)s::uuid[])
    AS flip (tenant_id, user_id, name, workflow_id)
JOIN withheld USING (tenant_id, user_id, name);

-- name: note_withheld
-- Note beside verdicts which of the switches that they wanted stay off.
UPDATE verdict SET withheld = kept_off.names
FROM (
    SELECT workflow_id, array_agg(name ORDER BY name) AS names
    FROM unnest(%(workflow_ids)s::uuid[], %(names)s::text[]) AS each (workflow_id, name)
    GROUP BY workflow_id
) AS kept_off
WHERE verdict.workflow_id = kept_off.workflow_id;

-- name: expire_switches
-- Turn off the switches whose time is over, of these users or of all, each with its row in the audit trail.
WITH expired AS (
    UPDATE switch SET is_on = false, changed_at = now(), expires_at = NULL
    FROM (
        SELECT tenant_id, user_id, name FROM switch
        WHERE is_on AND expires_at < now()
            AND (%(user_ids)s::text[] IS NULL OR (tenant_id, user_id) IN (
                SELECT * FROM unnest(%(tenant_ids)s::text[], %(user_ids)s::text[])
            ))
        ORDER BY tenant_id, user_id, name
        LIMIT 1000
        FOR NO KEY UPDATE
    ) AS due
    WHERE switch.tenant_id = due.tenant_id AND switch.user_id = due.user_id AND switch.name = due.name
    RETURNING switch.tenant_id, switch.user_id, switch.name
)
INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason)
SELECT tenant_id, user_id, name, false, 'expired' FROM expired
RETURNING id;

-- name: note_failed
-- Keep each failure once in the workflow's present generation, of workflows that are still there.
INSERT INTO failed_step (workflow_id, level, step_id, generation)
SELECT seen.workflow_id, seen.level, seen.step_id, workflow.generation
FROM unnest(%(workflow_ids)s::uuid[], %(levels)s::text[], %(step_ids)s::text[])
    AS seen (workflow_id, level, step_id)
JOIN workflow ON workflow.id = seen.workflow_id
ORDER BY seen.workflow_id, seen.level, seen.step_id
ON CONFLICT DO NOTHING
RETURNING workflow_id;

-- name: note_canary
-- Something has gone through every queue.
UPDATE canary SET returned_at = clock_timestamp() WHERE is_only RETURNING returned_at;
