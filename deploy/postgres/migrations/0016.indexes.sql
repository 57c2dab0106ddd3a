-- transactional: false
-- Nobody waits for these: what they are about is written meanwhile. One that was broken off is begun anew.

DROP INDEX CONCURRENTLY IF EXISTS switch_expiring;
CREATE INDEX CONCURRENTLY switch_expiring ON switch (expires_at) WHERE is_on AND expires_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS verdict_ask;
CREATE INDEX CONCURRENTLY verdict_ask ON verdict (ask_at) WHERE level = 'unscored' AND ask_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS notice_of_user;
CREATE INDEX CONCURRENTLY notice_of_user ON notice (tenant_id, user_id, recorded_at);
