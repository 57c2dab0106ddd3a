-- name: declare_joins
-- What chord.run says about its header: how many leaves, and the shape of a nested one; and the
-- leaves that Task.add_to_chord adds, which may be before the size is known. Locks them until the
-- transaction ends: two siblings committing at once must not miss each other.
INSERT INTO join_point AS j (id, size, header, grown)
SELECT u.id, u.size, u.header, u.grown
FROM unnest(%(ids)s::text[], %(sizes)s::int[], %(headers)s::text[], %(growth)s::int[])
     AS u(id, size, header, grown)
ORDER BY u.id
ON CONFLICT (id) DO UPDATE SET
    size = coalesce(excluded.size, j.size),
    header = coalesce(excluded.header, j.header),
    grown = j.grown + excluded.grown
RETURNING id, size + grown AS size, header, state

-- name: add_parts
-- A leaf counts once, however often it is delivered; a replayed one replaces its failure. Returns all
-- finished leaves of these joins in the header's order.
WITH added AS (
    INSERT INTO join_part AS p (join_id, step_id, position, status, result)
    SELECT u.join_id, u.step_id, u.position, u.status, u.result
    FROM unnest(%(joins)s::text[], %(steps)s::text[], %(positions)s::int[], %(statuses)s::text[],
                %(results)s::text[]) AS u(join_id, step_id, position, status, result)
    ORDER BY u.join_id, u.step_id
    ON CONFLICT (join_id, step_id) DO UPDATE SET status = excluded.status, result = excluded.result
    WHERE p.status <> 'SUCCESS'
    RETURNING p.join_id, p.step_id, p.position, p.status, p.result
)
SELECT join_id, step_id, position, status, result FROM added
UNION ALL
SELECT join_id, step_id, position, status, result FROM join_part AS p
WHERE join_id = ANY(%(joins)s)
    AND NOT EXISTS (SELECT FROM added WHERE added.join_id = p.join_id AND added.step_id = p.step_id)
ORDER BY join_id, position NULLS LAST, step_id

-- name: close_joins
-- These joins fired their bodies, or blocked them.
UPDATE join_point SET state = u.state, fired_at = now()
FROM unnest(%(ids)s::text[], %(states)s::text[]) AS u(id, state) WHERE join_point.id = u.id

-- name: save_group
-- GroupResult.save
INSERT INTO saved_group (id, result) VALUES (%(id)s, %(result)s)
ON CONFLICT (id) DO UPDATE SET result = excluded.result, saved_at = now()

-- name: restore_group
-- GroupResult.restore
SELECT result, saved_at FROM saved_group WHERE id = %(id)s

-- name: delete_group
-- GroupResult.delete
DELETE FROM saved_group WHERE id = %(id)s

-- name: delete_joins
-- Joins that have fired; their parts go with them.
DELETE FROM join_point
WHERE state = 'fired' AND fired_at < now() - make_interval(secs => %(older_than)s)

-- name: delete_groups
-- Saved groups that nobody deleted.
DELETE FROM saved_group WHERE saved_at < now() - make_interval(secs => %(older_than)s)
