-- A file whose counts have no months: what it knows counts as of the month in which it is opened.

-- name: set_aside_user_total
ALTER TABLE user_total RENAME TO user_total_whole;

-- name: set_aside_value_count
ALTER TABLE value_count RENAME TO value_count_whole;

-- name: set_aside_learned
ALTER TABLE learned RENAME TO learned_whole;

-- name: set_aside_answer
ALTER TABLE answer RENAME TO answer_whole;

-- name: take_over_user_total
INSERT INTO user_total SELECT tenant_id, user_id, :month, logins FROM user_total_whole;

-- name: drop_user_total
DROP TABLE user_total_whole;

-- name: take_over_value_count
INSERT INTO value_count SELECT tenant_id, user_id, level, value, :month, logins FROM value_count_whole;

-- name: drop_value_count
DROP TABLE value_count_whole;

-- name: take_over_learned
INSERT INTO learned SELECT tenant_id, request_id, :month FROM learned_whole;

-- name: drop_learned
DROP TABLE learned_whole;

-- name: take_over_answer
INSERT INTO answer SELECT tenant_id, idempotency_key, request_digest, body, :month FROM answer_whole;

-- name: drop_answer
DROP TABLE answer_whole;
