-- name: find_answer
-- The answer that was given under an idempotency key.
SELECT request_digest, body FROM answer WHERE tenant_id = :tenant_id AND idempotency_key = :key;

-- name: keep_answer
-- Keep an answer for whoever asks again under the same key.
INSERT INTO answer (tenant_id, idempotency_key, request_digest, body, month)
VALUES (:tenant_id, :key, :digest, :body, :month);

-- name: totals
-- The size of the tenant's history and of the user's.
SELECT coalesce((SELECT logins FROM tenant_total WHERE tenant_id = :tenant_id), 0),
       coalesce((SELECT users FROM tenant_total WHERE tenant_id = :tenant_id), 0),
       coalesce((SELECT sum(logins) FROM user_total
                 WHERE tenant_id = :tenant_id AND user_id = :user_id), 0);

-- name: seen
-- How often one value was seen with the user and with all, how many values its level has, and how many logins of the user's have any.
SELECT coalesce((SELECT sum(logins) FROM value_count WHERE tenant_id = :tenant_id
                 AND user_id = :user_id AND level = :level AND value = :value), 0),
       coalesce((SELECT sum(logins) FROM value_count WHERE tenant_id = :tenant_id
                 AND user_id = '' AND level = :level AND value = :value), 0),
       coalesce((SELECT distinct_values FROM level_total
                 WHERE tenant_id = :tenant_id AND level = :level), 0),
       coalesce((SELECT sum(logins) FROM value_count
                 WHERE tenant_id = :tenant_id AND user_id = :user_id AND level = :level), 0);

-- name: mark_learned
-- Claim a login for learning; changes no row when it was learned before.
INSERT INTO learned (tenant_id, request_id, month) VALUES (:tenant_id, :request_id, :month)
ON CONFLICT DO NOTHING;

-- name: count_user
-- One more login of the user.
INSERT INTO user_total (tenant_id, user_id, month, logins) VALUES (:tenant_id, :user_id, :month, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1;

-- name: count_tenant
-- One more login of the tenant, and one more user if it is that user's first.
INSERT INTO tenant_total (tenant_id, logins, users) VALUES (:tenant_id, 1, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1, users = users + :new_users;

-- name: count_value
-- One more login with this value, for one user or (user_id '') for all.
INSERT INTO value_count (tenant_id, user_id, level, value, month, logins)
VALUES (:tenant_id, :user_id, :level, :value, :month, 1)
ON CONFLICT DO UPDATE SET logins = logins + 1;

-- name: count_level
-- One more distinct value of a level.
INSERT INTO level_total (tenant_id, level, distinct_values) VALUES (:tenant_id, :level, 1)
ON CONFLICT DO UPDATE SET distinct_values = distinct_values + 1;

-- name: learned_among
-- Which of some logins were learned before.
SELECT request_id FROM learned WHERE tenant_id = :tenant_id AND request_id IN (SELECT value FROM json_each(:ids));

-- name: logins_of
-- How many logins of a user there are.
SELECT coalesce(sum(logins), 0) FROM user_total WHERE tenant_id = :tenant_id AND user_id = :user_id;

-- name: counts_of
-- How many of a user's logins had each value.
SELECT level, value, sum(logins) FROM value_count
WHERE tenant_id = :tenant_id AND user_id = :user_id GROUP BY level, value;

-- name: count_of_all
-- How many logins of all users had one value.
SELECT coalesce(sum(logins), 0) FROM value_count
WHERE tenant_id = :tenant_id AND user_id = '' AND level = :level AND value = :value;

-- name: distinct_of
-- How many values a level has.
SELECT coalesce((SELECT distinct_values FROM level_total WHERE tenant_id = :tenant_id AND level = :level), 0);

-- name: add_tenant
-- So many more logins of the tenant, and so many more users.
INSERT INTO tenant_total (tenant_id, logins, users) VALUES (:tenant_id, :logins, :users)
ON CONFLICT DO UPDATE SET logins = logins + excluded.logins, users = users + excluded.users;

-- name: add_user
-- So many more logins of a user in a month.
INSERT INTO user_total (tenant_id, user_id, month, logins) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET logins = logins + excluded.logins;

-- name: add_value
-- So many more logins with a value in a month, of one user or (user_id '') of all.
INSERT INTO value_count (tenant_id, user_id, level, value, month, logins) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET logins = logins + excluded.logins;

-- name: add_level
-- So many more distinct values of a level.
INSERT INTO level_total (tenant_id, level, distinct_values) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET distinct_values = distinct_values + excluded.distinct_values;

-- name: learned_of
-- What was learned of one user.
SELECT month, level, value, logins FROM value_count
WHERE tenant_id = :tenant_id AND user_id = :user_id AND user_id <> '' ORDER BY month, level, value;

-- name: take_values
-- What all users have of each value, without one user's logins of before a month.
UPDATE value_count AS everyone SET logins = everyone.logins - theirs.logins
FROM value_count AS theirs
WHERE everyone.tenant_id = :tenant_id AND everyone.user_id = ''
    AND theirs.tenant_id = :tenant_id AND theirs.user_id = :user_id AND theirs.month < :before
    AND theirs.level = everyone.level AND theirs.value = everyone.value AND theirs.month = everyone.month;

-- name: drop_values
-- What nobody has shown in a month.
DELETE FROM value_count WHERE (tenant_id, user_id, level, value, month) IN (
    SELECT tenant_id, '', level, value, month FROM value_count
    WHERE tenant_id = :tenant_id AND user_id = :user_id AND month < :before
) AND logins <= 0;

-- name: take_levels
-- How many values each level has, without those that nobody has left.
UPDATE level_total SET distinct_values = distinct_values - (
    SELECT count(DISTINCT value) FROM value_count AS theirs
    WHERE theirs.tenant_id = :tenant_id AND theirs.user_id = :user_id AND theirs.month < :before
        AND theirs.level = level_total.level AND NOT EXISTS (
            SELECT 1 FROM value_count AS everyone
            WHERE everyone.tenant_id = :tenant_id AND everyone.user_id = ''
                AND everyone.level = theirs.level AND everyone.value = theirs.value
        )
) WHERE tenant_id = :tenant_id;

-- name: take_tenant
-- The size of the tenant's history without a user's logins of before a month; a user without any is none.
UPDATE tenant_total SET
    logins = logins - (SELECT sum(logins) FROM user_total
                       WHERE tenant_id = :tenant_id AND user_id = :user_id AND month < :before),
    users = users - NOT EXISTS (SELECT 1 FROM user_total
                                WHERE tenant_id = :tenant_id AND user_id = :user_id AND month >= :before)
WHERE tenant_id = :tenant_id;

-- name: count_forgotten
-- How many logins of a user were before a month.
SELECT coalesce(sum(logins), 0) FROM user_total
WHERE tenant_id = :tenant_id AND user_id = :user_id AND month < :before;

-- name: drop_user_values
-- One user's values of before a month.
DELETE FROM value_count WHERE tenant_id = :tenant_id AND user_id = :user_id AND month < :before;

-- name: drop_user
-- One user's size before a month.
DELETE FROM user_total WHERE tenant_id = :tenant_id AND user_id = :user_id AND month < :before;

-- name: old_users
-- Users with logins of before a month.
SELECT DISTINCT tenant_id, user_id FROM user_total INDEXED BY user_total_month
WHERE month < :before LIMIT :at_most;

-- name: drop_answers
-- Answers that nobody asks for again.
DELETE FROM answer WHERE (tenant_id, idempotency_key) IN (
    SELECT tenant_id, idempotency_key FROM answer WHERE month < :before LIMIT :at_most
);

-- name: drop_learned
-- Which logins were learned, of those that nobody sends again.
DELETE FROM learned WHERE (tenant_id, request_id) IN (
    SELECT tenant_id, request_id FROM learned WHERE month < :before LIMIT :at_most
);

-- name: size
-- The size of the whole history: logins, and users with at least one.
SELECT coalesce(sum(logins), 0), coalesce(sum(users), 0) FROM tenant_total;
