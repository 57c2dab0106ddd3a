-- name: verdicts
-- How many of these workflows have a verdict.
SELECT count(*) FROM verdict WHERE workflow_id = ANY (%(workflows)s::uuid[])

-- name: last_verdict
-- When the last of these workflows' verdicts was stored: its step's end, right before the commit. Its own time is the transaction's beginning.
SELECT max(finished_at) FROM step
WHERE workflow_id = ANY (%(workflows)s::uuid[]) AND task = 'db_writes.apply_verdict' AND state = 'done'

-- name: has_verdict
-- Whether a workflow's verdict can be read.
SELECT EXISTS (SELECT FROM verdict WHERE workflow_id = %(workflow)s)

-- name: latencies
-- Seconds from accepted to verdict stored, of some workflows; see last_verdict.
SELECT extract(epoch FROM step.finished_at - workflow.accepted_at)::float8
FROM workflow JOIN step ON step.workflow_id = workflow.id
WHERE workflow.id = ANY (%(workflows)s::uuid[]) AND task = 'db_writes.apply_verdict' AND step.state = 'done'

-- name: notice_latencies
-- Seconds from accepted to a mail's hand-over, of those of some workflows that tell of a new device.
SELECT extract(epoch FROM notice.sent_at - workflow.accepted_at)::float8
FROM workflow JOIN notice ON notice.workflow_id = workflow.id
WHERE workflow.id = ANY (%(workflows)s::uuid[]) AND notice.reason = 'new_device'
    AND notice.channel = 'email' AND notice.sent_at IS NOT NULL

-- name: unfinished
-- Workflows and notices that are still under way.
SELECT (SELECT count(*) FROM workflow WHERE state = 'accepted')
    + (SELECT count(*) FROM notice WHERE state IN ('recorded', 'sending'))

-- name: ended_well
-- How many of these workflows are done and have a verdict.
SELECT count(*) FROM workflow JOIN verdict ON verdict.workflow_id = workflow.id
WHERE workflow.id = ANY (%(workflows)s::uuid[]) AND workflow.state = 'done'

-- name: all_verdicts
-- How many logins have a verdict.
SELECT count(*) FROM verdict
