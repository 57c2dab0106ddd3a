-- name: store_verdicts
-- Store verdicts once, a real one over `unscored`; returns the workflows whose verdict changed.
INSERT INTO verdict (
    workflow_id, tenant_id, user_id, level, action, score, reasons, model_version, request_id
)
SELECT
    workflow_id, reported.tenant_id, reported.user_id, given.level, given.action, given.score,
    ARRAY(SELECT jsonb_array_elements_text(given.reasons)), given.model_version, given.request_id
FROM unnest(
    %(workflow_ids)s::uuid[], %(levels)s::text[], %(actions)s::text[],
    %(scores)s::double precision[], %(reasons)s::jsonb[], %(model_versions)s::text[],
    %(request_ids)s::text[]
) AS given (workflow_id, level, action, score, reasons, model_version, request_id)
JOIN reported_login AS reported USING (workflow_id)
ORDER BY workflow_id
ON CONFLICT (workflow_id) DO UPDATE SET
    level = excluded.level, action = excluded.action, score = excluded.score,
    reasons = excluded.reasons, model_version = excluded.model_version,
    request_id = excluded.request_id, stored_at = excluded.stored_at
WHERE verdict.level = 'unscored' AND excluded.level <> 'unscored'
RETURNING workflow_id;

-- name: turn_on
-- Turn on the switches that are off, each with its row in the audit trail; returns those.
WITH wanted AS (
    SELECT DISTINCT ON (tenant_id, user_id, name) *
    FROM unnest(
        %(tenant_ids)s::text[], %(user_ids)s::text[], %(names)s::text[], %(workflow_ids)s::uuid[],
        %(reasons)s::text[]
    ) WITH ORDINALITY AS flip (tenant_id, user_id, name, workflow_id, reason, position)
    ORDER BY tenant_id, user_id, name, position
),
turned AS (
    INSERT INTO switch (tenant_id, user_id, name, is_on)
    SELECT tenant_id, user_id, name, true FROM wanted ORDER BY tenant_id, user_id, name
    ON CONFLICT (tenant_id, user_id, name)
    DO UPDATE SET is_on = true, changed_at = now() WHERE NOT switch.is_on
    RETURNING tenant_id, user_id, name
)
INSERT INTO switch_change (tenant_id, user_id, name, is_on, workflow_id, reason)
SELECT tenant_id, user_id, name, true, wanted.workflow_id, wanted.reason
FROM turned JOIN wanted USING (tenant_id, user_id, name)
RETURNING workflow_id, name;

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
