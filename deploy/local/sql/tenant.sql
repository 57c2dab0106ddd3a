-- name: ensure_tenant
-- The tenant of the local cluster, once.
INSERT INTO tenant (id, name) VALUES (%(tenant)s, %(name)s) ON CONFLICT DO NOTHING

-- name: ensure_key
-- Its API key, once; only the digest is stored.
INSERT INTO api_key (key_sha256, tenant_id) VALUES (%(digest)s, %(tenant)s) ON CONFLICT DO NOTHING
