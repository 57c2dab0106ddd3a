-- name: find_answer
-- The answer that was given under an idempotency key.
SELECT request_digest, body FROM answer WHERE tenant_id = :tenant_id AND idempotency_key = :key;

-- name: keep_answer
-- Keep an answer for whoever asks again under the same key.
INSERT INTO answer (tenant_id, idempotency_key, request_digest, body)
VALUES (:tenant_id, :key, :digest, :body);

-- name: totals
-- The size of the tenant's history and of the user's.
SELECT coalesce((SELECT logins FROM tenant_total WHERE tenant_id = :tenant_id), 0),
       coalesce((SELECT users FROM tenant_total WHERE tenant_id = :tenant_id), 0),
       coalesce((SELECT logins FROM user_total
                 WHERE tenant_id = :tenant_id AND user_id = :user_id), 0);

-- name: seen
-- How often one value was seen with the user and with all, and how many values its level has.
SELECT coalesce((SELECT logins FROM value_count WHERE tenant_id = :tenant_id
                 AND user_id = :user_id AND level = :level AND value = :value), 0),
       coalesce((SELECT logins FROM value_count WHERE tenant_id = :tenant_id
                 AND user_id = '' AND level = :level AND value = :value), 0),
       coalesce((SELECT distinct_values FROM level_total
                 WHERE tenant_id = :tenant_id AND level = :level), 0);

-- name: mark_learned
-- Claim a login for learning; changes no row when it was learned before.
INSERT INTO learned (tenant_id, request_id) VALUES (:tenant_id, :request_id)
ON CONFLICT DO NOTHING;

-- name: count_user
-- One more login of the user.
INSERT INTO user_total (tenant_id, user_id, logins) VALUES (:tenant_id, :user_id, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1;

-- name: count_tenant
-- One more login of the tenant, and one more user if it is that user's first.
INSERT INTO tenant_total (tenant_id, logins, users) VALUES (:tenant_id, 1, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1, users = users + :new_users;

-- name: count_value
-- One more login with this value, for one user or (user_id '') for all.
INSERT INTO value_count (tenant_id, user_id, level, value, logins)
VALUES (:tenant_id, :user_id, :level, :value, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1;

-- name: count_level
-- One more distinct value of a level.
INSERT INTO level_total (tenant_id, level, distinct_values) VALUES (:tenant_id, :level, 1)
ON CONFLICT DO UPDATE SET distinct_values = distinct_values + 1;

-- name: take_values
-- What all users have of each value, without one user's.
UPDATE value_count AS everyone SET logins = everyone.logins - theirs.logins
FROM value_count AS theirs
WHERE everyone.tenant_id = :tenant_id AND everyone.user_id = ''
    AND theirs.tenant_id = :tenant_id AND theirs.user_id = :user_id
    AND theirs.level = everyone.level AND theirs.value = everyone.value;

-- name: drop_values
-- Values that nobody else has.
DELETE FROM value_count WHERE tenant_id = :tenant_id AND user_id = '' AND logins <= 0
    AND EXISTS (SELECT 1 FROM value_count AS theirs WHERE theirs.tenant_id = :tenant_id
                AND theirs.user_id = :user_id AND theirs.level = value_count.level
                AND theirs.value = value_count.value);

-- name: count_levels_again
-- How many values each level has now.
UPDATE level_total SET distinct_values = (
    SELECT count(*) FROM value_count
    WHERE value_count.tenant_id = :tenant_id AND value_count.user_id = '' AND value_count.level = level_total.level
) WHERE tenant_id = :tenant_id AND EXISTS (
    SELECT 1 FROM value_count WHERE value_count.tenant_id = :tenant_id AND value_count.user_id = :user_id
        AND value_count.level = level_total.level
);

-- name: take_tenant
-- The size of the tenant's history without one user's.
UPDATE tenant_total SET users = users - 1, logins = logins - (
    SELECT logins FROM user_total WHERE user_total.tenant_id = :tenant_id AND user_total.user_id = :user_id
) WHERE tenant_id = :tenant_id;

-- name: drop_user_values
-- One user's values.
DELETE FROM value_count WHERE tenant_id = :tenant_id AND user_id = :user_id;

-- name: drop_user
-- One user's size.
DELETE FROM user_total WHERE tenant_id = :tenant_id AND user_id = :user_id;
