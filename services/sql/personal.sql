-- name: of_user
-- Of tables that say whose their rows are.
it.tenant_id = %(tenant)s AND it.user_id = %(user)s

-- name: of_workflow
-- Of tables that belong to a login's workflow.
it.workflow_id IN (SELECT w.id FROM workflow AS w WHERE w.tenant_id = %(tenant)s AND w.user_id = %(user)s)

-- name: of_notice
-- Of tables that belong to a notice.
it.notice_id IN (
    SELECT n.id FROM notice AS n JOIN workflow AS w ON w.id = n.workflow_id
    WHERE w.tenant_id = %(tenant)s AND w.user_id = %(user)s
)

-- name: collect
-- Put a user's rows of one table aside for an export, 500 together, in an order that holds from one export to the next.
INSERT INTO export_part (workflow_id, store, name, position, rows, body)
SELECT %(export)s, 'database', {name}, place / 500, count(*), string_agg(found.row::text, E'\n' ORDER BY place)
FROM (
    SELECT to_jsonb(it) AS row, row_number() OVER (ORDER BY to_jsonb(it)) - 1 AS place FROM {table} AS it WHERE {condition}
) AS found
GROUP BY place / 500
RETURNING rows

-- name: lock_exports
-- Of two who want the same user's export at one moment the second waits.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x1f', 'export', %(tenant)s::text, %(user)s::text), 0))

-- name: export_under_way
-- An export that is being made.
SELECT id FROM workflow
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND name = 'export' AND state = 'accepted'
ORDER BY accepted_at DESC LIMIT 1

-- name: count
-- How many rows of one table are a user's.
SELECT count(*) AS rows FROM {table} AS it WHERE {condition}

-- name: delete
-- Delete a user's rows of one table.
DELETE FROM {table} AS it WHERE {condition}
