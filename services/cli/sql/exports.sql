-- name: export
-- How far an export is, and its archive once there is one.
SELECT state, archive FROM workflow LEFT JOIN export_archive ON workflow_id = id WHERE id = %(id)s
