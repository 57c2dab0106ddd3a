-- name: set_webhook
-- Where an application's webhook is, and what it hears of.
UPDATE tenant SET webhook_url = %(url)s, webhook_secret = %(secret)s, policy = %(policy)s::jsonb WHERE id = 'shop'

-- name: close_breaker
-- Forget that the outlier API was away.
DELETE FROM breaker
