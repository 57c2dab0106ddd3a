-- name: leave_unplanned
-- These workflows have no steps yet.
INSERT INTO unplanned_workflow (workflow_id) SELECT * FROM unnest(%(workflows)s::uuid[])

-- name: take_unplanned
-- The oldest of them, for the caller to plan in the same transaction. Another gateway takes others.
WITH taken AS (
    DELETE FROM unplanned_workflow WHERE workflow_id IN (
        SELECT workflow_id FROM unplanned_workflow ORDER BY accepted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    RETURNING workflow_id
)
SELECT workflow.id, workflow.tenant_id, workflow.user_id
FROM taken JOIN workflow ON workflow.id = taken.workflow_id

-- name: count_unplanned
-- How many there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM unplanned_workflow LIMIT %(limit)s) AS counted

-- name: count_waiting
-- Steps that wait in these queues, published or not, counted up to a limit.
SELECT (
    SELECT count(*) FROM (
        SELECT FROM step WHERE queue = ANY(%(queues)s::text[]) AND published_at IS NOT NULL
            AND state IN ('ready', 'retrying') LIMIT %(limit)s
    ) AS published
) + (
    SELECT count(*) FROM (
        SELECT FROM step WHERE queue = ANY(%(queues)s::text[]) AND published_at IS NULL
            AND state IN ('ready', 'retrying') LIMIT %(limit)s
    ) AS unpublished
)
