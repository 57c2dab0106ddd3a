-- name: export
-- Whom an export is about, and whether it is packed; no row when its user was erased.
SELECT tenant_id, user_id, accepted_at AS asked_at,
    EXISTS (SELECT FROM export_archive WHERE workflow_id = workflow.id) AS is_packed
FROM workflow WHERE id = %(id)s

-- name: one_snapshot
-- All that follows sees the rows of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- name: drop_parts
-- What a store had put aside before.
DELETE FROM export_part WHERE workflow_id = %(id)s AND store = %(store)s

-- name: put_aside
-- What a store has that is no table.
INSERT INTO export_part (workflow_id, store, name, position, rows, body)
VALUES (%(id)s, %(store)s, %(what)s, 0, %(rows)s, %(body)s)
ON CONFLICT (workflow_id, store, name, position) DO UPDATE SET rows = excluded.rows, body = excluded.body

-- name: parts
-- All that was put aside, in the order in which it is packed.
SELECT store, name, rows, body FROM export_part WHERE workflow_id = %(id)s ORDER BY store, name, position

-- name: keep_archive
-- The archive takes the place of what was put aside.
WITH packed AS (
    DELETE FROM export_part WHERE workflow_id = %(id)s
)
INSERT INTO export_archive (workflow_id, archive) VALUES (%(id)s, %(archive)s)
ON CONFLICT (workflow_id) DO NOTHING
