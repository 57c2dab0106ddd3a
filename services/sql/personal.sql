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

-- name: rows
-- A user's rows of one table, in an order that holds from one export to the next.
SELECT to_jsonb(it) AS row FROM {table} AS it WHERE {condition} ORDER BY to_jsonb(it)

-- name: count
-- How many rows of one table are a user's.
SELECT count(*) AS rows FROM {table} AS it WHERE {condition}

-- name: delete
-- Delete a user's rows of one table.
DELETE FROM {table} AS it WHERE {condition}
