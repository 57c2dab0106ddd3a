-- name: tenants
-- One application that answers at once, and others that take their time.
INSERT INTO tenant (id, name, webhook_url, webhook_secret)
SELECT name, name, %(base)s || '/' || name, repeat('x', 40)
FROM (
    SELECT %(fast)s AS name UNION ALL SELECT 'slow-' || number FROM generate_series(1, %(number)s) AS number
) AS wanted

-- name: event
-- Something that an application is to hear of.
INSERT INTO application_event (id, tenant_id, type, data)
VALUES (gen_random_uuid(), %(tenant)s, 'bench.tick', '{}')

-- name: feed
-- Something to hear for each slow application that has less than so much to hear.
INSERT INTO application_event (id, tenant_id, type, data)
SELECT gen_random_uuid(), tenant.id, 'bench.tick', '{}'
FROM tenant
WHERE tenant.id LIKE 'slow-%%'
    AND %(most)s > (
        SELECT count(*) FROM application_event AS event WHERE event.tenant_id = tenant.id AND event.state = 'due'
    )

-- name: called_at
-- When an application's last turn began.
SELECT extract(epoch FROM called_at)::float8 FROM webhook_receiver WHERE tenant_id = %(tenant)s
