-- name: place_of_step
-- Whether a step is there, and of which workflow.
SELECT workflow_id FROM step WHERE id = %(id)s

-- name: steps_of_canvas
-- Steps that were sent by hand, by id, by root and by group.
SELECT id, task, queue, state, position, after, sent_by, root_id, parent_id, canvas, message, attempts, retries,
    redeliveries, replacements, host, reason, planned_at, ready_at, published_at, due_at, started_at, finished_at, result
FROM step
WHERE workflow_id IS NULL AND id IN (
    SELECT unnest(%(ids)s::text[])
    UNION
    SELECT id FROM step WHERE workflow_id IS NULL AND root_id = ANY(%(roots)s)
    UNION
    SELECT id FROM step WHERE workflow_id IS NULL AND canvas IS NOT NULL AND canvas ->> 'joins' = ANY(%(groups)s)
)
ORDER BY planned_at, ready_at NULLS LAST, id
LIMIT %(limit)s

-- name: step_before
-- A step behind which one is to come that has no row yet: all that was sent by hand lately is looked through.
SELECT id FROM step
WHERE workflow_id IS NULL AND canvas IS NOT NULL AND strpos(canvas::text, %(id)s) > 0
LIMIT 1
