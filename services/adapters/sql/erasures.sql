-- name: erasure
-- An erasure that is not done yet.
SELECT tenant_id, user_id FROM erasure WHERE id = %(id)s AND erased_at IS NULL

-- name: note_forgotten
-- What the outlier API said about it.
UPDATE erasure SET outlier_api = %(answer)s WHERE id = %(id)s AND erased_at IS NULL

-- name: note_erased
-- It is done: only the pseudonym is left of the user.
UPDATE erasure SET user_id = NULL, erased_at = clock_timestamp(), erased = %(rows)s::jsonb WHERE id = %(id)s

-- name: lock_user
-- Nobody adds devices to the user until the transaction ends, as with `lock_users`.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x1f', 'device', %(tenant)s::text, %(user)s::text), 0))
