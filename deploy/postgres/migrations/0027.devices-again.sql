-- transactional: false
-- A sign-in like one that its user disowned, from a network that is none of theirs, brings another device of the same traits.
-- Can be applied again after it was broken off.

DROP INDEX CONCURRENTLY IF EXISTS device_by_fingerprint;
CREATE INDEX CONCURRENTLY device_by_fingerprint ON device (tenant_id, user_id, fingerprint);
ALTER TABLE device DROP CONSTRAINT IF EXISTS device_tenant_id_user_id_fingerprint_key;
