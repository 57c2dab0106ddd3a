-- transactional: false
-- Mails that came back after their server had taken them. Can be applied again after it was broken off.

ALTER TABLE notice
    ADD COLUMN IF NOT EXISTS bounced_at timestamptz,
    ADD COLUMN IF NOT EXISTS bounce text,  -- the status that came back, such as 5.1.1
    ADD COLUMN IF NOT EXISTS bounce_answered_at timestamptz;  -- when the next channel was looked for

DROP INDEX CONCURRENTLY IF EXISTS notice_bounced;
CREATE INDEX CONCURRENTLY notice_bounced ON notice (tenant_id, user_id) WHERE bounced_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS notice_bounce_due;
CREATE INDEX CONCURRENTLY notice_bounce_due ON notice (bounced_at)
    WHERE bounced_at IS NOT NULL AND bounce_answered_at IS NULL;
