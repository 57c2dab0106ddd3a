-- The digest of a report gives its address away to whoever tries all of a network: it goes when the address is truncated, or deleted
-- with its login.
UPDATE idempotency_key AS it SET body_sha256 = ''
FROM retention
WHERE retention.what = 'addresses' AND it.body_sha256 <> '' AND (
    it.created_at <= retention.done_until
    OR NOT EXISTS (SELECT FROM workflow WHERE workflow.id = it.workflow_id)
);
