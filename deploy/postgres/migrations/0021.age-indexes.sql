-- transactional: false
-- What is old is found by these. One that was broken off is begun anew.

DROP INDEX CONCURRENTLY IF EXISTS workflow_by_age;
CREATE INDEX CONCURRENTLY workflow_by_age ON workflow (accepted_at);
DROP INDEX CONCURRENTLY IF EXISTS idempotency_key_by_age;
CREATE INDEX CONCURRENTLY idempotency_key_by_age ON idempotency_key (created_at);
