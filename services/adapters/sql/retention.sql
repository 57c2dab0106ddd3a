-- name: truncate_addresses
-- Of the next logins that are old enough: addresses lose their last part (the network of /24 or /48 is left), mail addresses go,
-- and the digests of reports, by which both could be found out.
WITH old AS (
    SELECT workflow.id, workflow.accepted_at
    FROM workflow, retention
    WHERE retention.what = 'addresses' AND workflow.accepted_at > retention.done_until
        AND workflow.accepted_at < now() - make_interval(days => %(days)s)
    ORDER BY workflow.accepted_at
    FETCH FIRST %(most)s ROWS WITH TIES
),
reported AS (
    UPDATE reported_login AS it SET
        email = NULL, other_email = NULL,
        ip = host(network(set_masklen(it.ip, CASE family(it.ip) WHEN 4 THEN 24 ELSE 48 END)))::inet
    FROM old WHERE it.workflow_id = old.id
),
stored AS (
    UPDATE login AS it SET
        ip = host(network(set_masklen(it.ip, CASE family(it.ip) WHEN 4 THEN 24 ELSE 48 END)))::inet
    FROM old WHERE it.workflow_id = old.id
),
keys AS (
    UPDATE idempotency_key AS it SET body_sha256 = '' FROM old WHERE it.workflow_id = old.id
),
noted AS (
    UPDATE retention SET done_until = (SELECT max(accepted_at) FROM old)
    WHERE what = 'addresses' AND EXISTS (SELECT FROM old)
)
SELECT count(*) AS rows FROM old;

-- name: delete_workflows
-- Delete the oldest workflows that have ended, with all that hangs on them; of their keys the digest goes, which the address may
-- still be in.
WITH old AS (
    SELECT id FROM workflow
    WHERE accepted_at < now() - make_interval(days => %(days)s) AND state <> 'accepted'
    ORDER BY accepted_at LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
),
keys AS (
    UPDATE idempotency_key AS it SET body_sha256 = ''
    FROM old WHERE it.workflow_id = old.id AND it.body_sha256 <> ''
),
gone AS (
    DELETE FROM workflow USING old WHERE workflow.id = old.id RETURNING workflow.id
)
SELECT count(*) AS rows FROM gone;

-- name: delete_exports
-- Delete what was put aside and packed for users; who has not fetched it asks once more.
WITH parts AS (
    DELETE FROM export_part WHERE put_aside_at < now() - make_interval(days => %(days)s) RETURNING workflow_id
),
archives AS (
    DELETE FROM export_archive WHERE packed_at < now() - make_interval(days => %(days)s) RETURNING workflow_id
)
SELECT (SELECT count(*) FROM parts) + (SELECT count(*) FROM archives) AS rows;

-- name: delete_events
-- Delete what applications heard long ago, of no workflow.
WITH old AS (
    SELECT id FROM application_event
    WHERE workflow_id IS NULL AND ended_at < now() - make_interval(days => %(days)s)
    LIMIT %(most)s
),
gone AS (
    DELETE FROM application_event AS it USING old WHERE it.id = old.id RETURNING it.id
)
SELECT count(*) AS rows FROM gone;

-- name: delete_keys
-- Delete keys of logins that would be refused for their age if they were reported again.
WITH old AS (
    SELECT tenant_id, key FROM idempotency_key
    WHERE created_at < now() - make_interval(days => %(days)s)
    ORDER BY created_at LIMIT %(most)s
),
gone AS (
    DELETE FROM idempotency_key AS it USING old
    WHERE it.tenant_id = old.tenant_id AND it.key = old.key
    RETURNING it.key
)
SELECT count(*) AS rows FROM gone;

-- name: delete_import_logins
-- Delete what waits in imports that nobody has gone on with: a day after the last of it came, a week after one began.
WITH old AS (
    SELECT it.id FROM login_import AS it LEFT JOIN workflow USING (id)
    WHERE it.touched_at < now() - make_interval(days => CASE WHEN it.begun_at IS NULL THEN %(days)s ELSE 7 * %(days)s END)
        AND coalesce(workflow.state <> 'accepted', true)
),
gone AS (
    DELETE FROM import_login WHERE ctid = ANY (ARRAY(
        SELECT it.ctid FROM import_login AS it JOIN old ON it.import_id = old.id LIMIT %(most)s
    ))
    RETURNING line
)
SELECT count(*) AS rows FROM gone;

-- name: delete_imports
-- Delete these imports themselves once they are empty.
WITH gone AS (
    DELETE FROM login_import AS it
    WHERE it.touched_at < now() - make_interval(days => CASE WHEN it.begun_at IS NULL THEN %(days)s ELSE 7 * %(days)s END)
        AND NOT EXISTS (SELECT FROM workflow WHERE workflow.id = it.id AND workflow.state = 'accepted')
        AND NOT EXISTS (SELECT FROM import_login WHERE import_id = it.id)
    RETURNING it.id
)
SELECT count(*) AS rows FROM gone;
