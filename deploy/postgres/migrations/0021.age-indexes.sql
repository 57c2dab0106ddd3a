-- transactional: false
-- What is old, and what is about one user, is found by these. One that was broken off is begun anew.

DROP INDEX CONCURRENTLY IF EXISTS workflow_by_age;
CREATE INDEX CONCURRENTLY workflow_by_age ON workflow (accepted_at);
DROP INDEX CONCURRENTLY IF EXISTS idempotency_key_by_age;
CREATE INDEX CONCURRENTLY idempotency_key_by_age ON idempotency_key (created_at);
DROP INDEX CONCURRENTLY IF EXISTS idempotency_key_of_workflow;
CREATE INDEX CONCURRENTLY idempotency_key_of_workflow ON idempotency_key (workflow_id);
DROP INDEX CONCURRENTLY IF EXISTS login_by_device;
CREATE INDEX CONCURRENTLY login_by_device ON login (device_id);
DROP INDEX CONCURRENTLY IF EXISTS switch_change_of_user;
CREATE INDEX CONCURRENTLY switch_change_of_user ON switch_change (tenant_id, user_id);
