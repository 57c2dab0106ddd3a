-- name: is_standby_missing
-- Whether commits wait for a standby, and none of those that are named is connected. Reads alone, so that it is answered then too.
SELECT names <> '' AND NOT EXISTS (
    SELECT FROM pg_stat_replication
    WHERE application_name <> '' AND position(application_name IN names) > 0
) AS is_standby_missing
FROM current_setting('synchronous_standby_names') AS names
